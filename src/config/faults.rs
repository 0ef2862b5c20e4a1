//! What is wrong with a configuration.

use std::fmt;

/// One fault: where it is, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Key path, such as `plugins[1].max_memory_bytes`; empty for the file as a whole.
    pub path: String,
    /// Line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// What was found and what is allowed.
    pub problem: String,
}

impl Fault {
    /// A fault in a value: what was found, and what is allowed.
    pub fn value(path: impl Into<String>, found: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self { path: path.into(), line: None, problem: format!("found {found}; allowed: {allowed}") }
    }

    /// A fault in the text of a file.
    pub(crate) fn text(path: String, line: Option<usize>, problem: impl Into<String>) -> Self {
        Self { path, line, problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.line) {
            ("", Some(line)) => write!(f, "line {line}: {}", self.problem),
            ("", None) => f.write_str(&self.problem),
            (path, Some(line)) => write!(f, "{path} (line {line}): {}", self.problem),
            (path, None) => write!(f, "{path}: {}", self.problem),
        }
    }
}

/// All faults of a configuration, one a line. Never empty.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// All of them in one line, for a log.
    pub fn in_one_line(&self) -> String {
        self.0.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} fault{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
