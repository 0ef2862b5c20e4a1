//! Levels of log lines.

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something changed.
    Info,
    /// For the plugin's author.
    Debug,
    /// Everything.
    Trace,
}
