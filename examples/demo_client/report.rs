//! What the demo shows at its end.

use std::io;
use std::io::Write;
use std::time::Duration;

use crate::client::Worker;
use crate::page::Page;
use crate::traffic::Phase;
use crate::traffic::Tally;

/// Width of the longest bar.
const BAR: usize = 40;

/// Failures that are shown in full.
const SHOWN: usize = 5;

/// The replacement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swap {
    /// From sending the module to the answer that it serves.
    pub(crate) took: Duration,
    /// Requests in flight when it was sent.
    pub(crate) in_flight: usize,
}

/// Everything that is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) tally: &'a Tally,
    pub(crate) workers: &'a [Worker],
    pub(crate) page: &'a Page,
    pub(crate) swap: Swap,
}

impl Report<'_> {
    /// Writes all of it. `before` and `after` name the policies.
    pub(crate) fn write(&self, out: &mut impl Write, before: &str, after: &str) -> io::Result<()> {
        self.bars(out, Phase::Before, &format!("{before} decided (the least busy worker)"))?;
        let Swap { took, in_flight } = self.swap;
        let during = self.count(Phase::During);
        writeln!(
            out,
            "\n  module replaced in {} ms, with {in_flight} requests in flight; {during} more were sent meanwhile",
            took.as_millis()
        )?;
        self.bars(out, Phase::After, &format!("{after} decided (in proportion to the weights)"))?;
        writeln!(out)?;
        self.table(out, before, after)
    }

    fn count(&self, phase: Phase) -> usize {
        self.tally.answered.iter().filter(|((own, _), _)| *own == phase).map(|(_, count)| count).sum()
    }

    fn bars(&self, out: &mut impl Write, phase: Phase, title: &str) -> io::Result<()> {
        let total = self.count(phase).max(1);
        writeln!(out, "\n  {} requests, {title}", self.count(phase))?;
        for worker in self.workers {
            let count = self.tally.answered.get(&(phase, worker.url.clone())).copied().unwrap_or(0);
            let bar = "█".repeat((count * BAR).div_ceil(total));
            let (name, weight) = (worker.name(), worker.weight);
            writeln!(out, "    {name}  weight {weight}  {bar:BAR$} {count:4}  {:3} %", count * 100 / total)?;
        }
        Ok(())
    }

    fn table(&self, out: &mut impl Write, before: &str, after: &str) -> io::Result<()> {
        let tally = self.tally;
        let kinds = format!("{} plain, {} streamed in {} pieces", tally.plain, tally.streamed, tally.pieces);
        row(out, "requests sent", &tally.sent().to_string(), &kinds)?;
        row(out, "failed", &tally.failures.len().to_string(), "")?;
        for failure in tally.failures.iter().take(SHOWN) {
            writeln!(out, "    {failure}")?;
        }
        let decisions = self.page.decisions(before).unwrap_or(0.0);
        let known = self.page.generations(before);
        if let Some((last, own)) = known.last() {
            // There were two; the first may have ended and left the page.
            row(out, "decisions, old generation", &(decisions - own).to_string(), before)?;
            row(out, &format!("decisions, generation {last}"), &own.to_string(), after)?;
        }
        row(out, "decisions in all", &decisions.to_string(), "")?;
        let fallbacks = self.page.fallbacks(before).unwrap_or(0.0);
        row(out, "of them by the fallback", &fallbacks.to_string(), "")?;
        if let Some(times) = self.page.times(before) {
            let note = format!("of {} that were timed, about one in sixteen", times.timed);
            row(out, "decision time, p50", &at_most(times.p50), &note)?;
            row(out, "decision time, p99", &at_most(times.p99), "")?;
        }
        Ok(())
    }
}

fn row(out: &mut impl Write, what: &str, value: &str, note: &str) -> io::Result<()> {
    writeln!(out, "{}", format!("  {what:26}{value:>10}   {note}").trim_end())
}

/// The upper bound of a bucket.
fn at_most(time: Duration) -> String {
    format!("≤ {:.1} µs", time.as_secs_f64() * 1e6)
}
