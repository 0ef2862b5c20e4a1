//! What a plugin's guests say, at most so many lines a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// Log lines of one plugin that are passed on per second; the rest is counted.
const LINES_PER_SECOND: u64 = 20;

/// The log of one plugin, over all its generations and trials.
#[derive(Debug)]
pub(crate) struct PluginLog {
    plugin: String,
    window: Mutex<LogWindow>,
    suppressed: AtomicU64,
    tmp_refusals: AtomicU64,
}

#[derive(Debug)]
struct LogWindow {
    started: Instant,
    lines: u64,
}

impl PluginLog {
    pub(crate) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            window: Mutex::new(LogWindow { started: Instant::now(), lines: 0 }),
            suppressed: AtomicU64::new(0),
            tmp_refusals: AtomicU64::new(0),
        }
    }

    pub(crate) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Lines that were not passed on.
    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Calls that were refused because the private directory is full.
    pub(crate) fn tmp_refusals(&self) -> u64 {
        self.tmp_refusals.load(Ordering::Relaxed)
    }

    /// Passes a line on: 0 error, 1 warn, 2 info, 3 debug, 4 trace.
    pub(crate) fn line(&self, level: u8, line: &str) {
        if !self.may_log() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let plugin = self.plugin.as_str();
        // Debug formatting escapes control characters: a guest cannot forge lines of the log.
        match level {
            0 => tracing::error!(target: "sgl_plugin", plugin, line = ?line),
            1 => tracing::warn!(target: "sgl_plugin", plugin, line = ?line),
            2 => tracing::info!(target: "sgl_plugin", plugin, line = ?line),
            3 => tracing::debug!(target: "sgl_plugin", plugin, line = ?line),
            _ => tracing::trace!(target: "sgl_plugin", plugin, line = ?line),
        }
    }

    pub(crate) fn tmp_full(&self) {
        let count = self.tmp_refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let plugin = self.plugin.as_str();
            tracing::warn!(
                plugin,
                count,
                "a plugin's private directory is full: max_tmp_bytes, max_tmp_files"
            );
        }
    }

    fn may_log(&self) -> bool {
        let mut window = self.window.lock();
        if window.started.elapsed().as_secs() >= 1 {
            *window = LogWindow { started: Instant::now(), lines: 0 };
        }
        window.lines += 1;
        window.lines <= LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_flood_is_cut_and_counted() {
        let log = PluginLog::new("p");
        (0..1000).for_each(|_| log.line(2, "x"));
        assert!(log.suppressed() >= 900, "{}", log.suppressed());
    }
}
