//! The line that shows how a run goes on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use sgl_tools::load::{Counts, RunControl};

/// Pause between two states of the line on a terminal.
const TERMINAL_PAUSE: Duration = Duration::from_millis(200);
/// Pause between two lines elsewhere.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes progress to standard error until it is dropped.
#[derive(Debug)]
pub(crate) struct ProgressWriter {
    task: Option<JoinHandle<()>>,
    terminal: bool,
}

impl ProgressWriter {
    /// Starts to write if somebody may want to see it.
    pub(crate) fn start(control: &RunControl, forced: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let task = (terminal || forced).then(|| tokio::spawn(show(control.clone(), terminal)));
        Self { task, terminal }
    }
}

impl Drop for ProgressWriter {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
            if self.terminal {
                // Clears the line for what comes after it.
                let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
            }
        }
    }
}

async fn show(control: RunControl, terminal: bool) {
    let begin = Instant::now();
    let (mut last, mut last_at) = (Counts::default(), begin);
    // The first at once: it tells that the run has begun.
    let mut ticks = tokio::time::interval(if terminal { TERMINAL_PAUSE } else { PAUSE });
    loop {
        ticks.tick().await;
        let (counts, now) = (control.counts(), Instant::now());
        let seconds = now.saturating_duration_since(last_at).as_secs_f64();
        let rate = if seconds > 0.0 { counts.ok.saturating_sub(last.ok) as f64 / seconds } else { 0.0 };
        let line = line(&control, counts, rate, begin.elapsed());
        (last, last_at) = (counts, now);
        let mut out = std::io::stderr().lock();
        // A run goes on without its progress if that cannot be written.
        let _ = if terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }
}

fn line(control: &RunControl, counts: Counts, rate: f64, elapsed: Duration) -> String {
    let stage = control.stage();
    let Counts { ok, failed, in_flight, swaps } = counts;
    let seconds = elapsed.as_secs_f64();
    let mut line = format!(
        "{seconds:6.1} s  round {}/{}  {}  {rate:.0} requests/s  {ok} answered  {failed} failed  \
         {in_flight} in flight",
        stage.round, stage.rounds, stage.target
    );
    if swaps > 0 {
        line.push_str(&format!("  {swaps} swaps"));
    }
    if control.is_stopped() {
        line.push_str("  stopping");
    }
    line
}
