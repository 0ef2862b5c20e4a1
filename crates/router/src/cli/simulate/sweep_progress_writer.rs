//! The line that shows how a simulation goes on.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::thread::Scope;
use std::time::{Duration, Instant};

use sgl_simulate::fleet::{ProgressCounts, RunProgress};

/// Nobody needs to see how a short one goes on.
const SHORT: Duration = Duration::from_secs(1);
/// Pause between two states of the line on a terminal.
const TERMINAL_PAUSE: Duration = Duration::from_millis(200);
/// Pause between two lines elsewhere.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes progress to standard error until it is dropped.
#[derive(Debug)]
pub(crate) struct SweepProgressWriter {
    /// The thread ends when this is gone.
    _end: Option<Sender<()>>,
}

impl SweepProgressWriter {
    /// Starts to write if somebody may want to see it.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        progress: &'scope RunProgress,
        is_forced: bool,
    ) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        if !is_terminal && !is_forced {
            return Self { _end: None };
        }
        let (end, ended) = channel();
        let thread = thread::Builder::new().spawn_scoped(scope, move || show(progress, &ended, is_terminal));
        // A simulation goes on without.
        Self { _end: thread.ok().map(|_| end) }
    }
}

fn show(progress: &RunProgress, ended: &Receiver<()>, is_terminal: bool) {
    let begin = Instant::now();
    let mut pause = SHORT;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let line = line(progress.counts(), begin.elapsed());
        let mut out = std::io::stderr().lock();
        // A simulation goes on without its progress if that cannot be written.
        let _ = if is_terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
        pause = if is_terminal { TERMINAL_PAUSE } else { PAUSE };
    }
    if is_terminal {
        // Clears the line for what comes after it.
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}

fn line(counts: ProgressCounts, elapsed: Duration) -> String {
    let ProgressCounts { came, expected, runs } = counts;
    let percent = came.saturating_mul(100) / expected.max(1);
    format!("{:6.1} s  {percent:3} %  {came} of {expected} requests  {runs} runs done", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_says_how_much_is_done() {
        let counts = ProgressCounts { came: 250, expected: 1000, runs: 3 };
        assert_eq!(
            line(counts, Duration::from_millis(2500)),
            "   2.5 s   25 %  250 of 1000 requests  3 runs done"
        );
        assert!(line(ProgressCounts::default(), Duration::ZERO).contains("  0 %"));
    }
}
