//! What the demo shows at its end.

use std::fmt::Display;
use std::io;
use std::io::Write;
use std::time::Duration;

use crate::client::{Plugin, Worker};
use crate::page::Page;
use crate::traffic::{Phase, Tally};

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
    /// The plugin, which is also the name of its first module.
    pub(crate) plugin: &'a str,
    /// The name of the second.
    pub(crate) replacement: &'a str,
    pub(crate) tally: &'a Tally,
    pub(crate) workers: &'a [Worker],
    /// What operators see of the plugin, before and after.
    pub(crate) before: &'a Plugin,
    pub(crate) after: &'a Plugin,
    /// The metrics page at the end.
    pub(crate) page: &'a Page,
    pub(crate) swap: Swap,
}

impl Report<'_> {
    /// Writes all of it.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let even = vec![1.0; self.workers.len()];
        self.bars(out, Phase::Before, self.plugin, "the least busy worker", &even)?;
        let Swap { took, in_flight } = self.swap;
        writeln!(
            out,
            "\n  module replaced in {} ms, with {in_flight} requests in flight; {} more were sent meanwhile",
            took.as_millis(),
            self.count(Phase::During)
        )?;
        let weights: Vec<f64> = self.workers.iter().map(|worker| worker.weight).collect();
        self.bars(out, Phase::After, self.replacement, "in proportion to the weights", &weights)?;
        writeln!(out)?;
        self.table(out)
    }

    fn count(&self, phase: Phase) -> usize {
        self.tally.answered.iter().filter(|((own, _), _)| *own == phase).map(|(_, count)| count).sum()
    }

    /// The spread of a phase's requests, beside the shares that are to be expected.
    fn bars(
        &self,
        out: &mut impl Write,
        phase: Phase,
        module: &str,
        rule: &str,
        shares: &[f64],
    ) -> io::Result<()> {
        let total = self.count(phase).max(1);
        let all: f64 = shares.iter().sum();
        writeln!(out, "\n  {} requests, {module} decided: {rule}", self.count(phase))?;
        for (worker, share) in self.workers.iter().zip(shares) {
            let count = self.tally.answered.get(&(phase, worker.url.clone())).copied().unwrap_or(0);
            let bar = "█".repeat((count * BAR).div_ceil(total));
            let (name, weight) = (worker.name(), worker.weight);
            let (found, expected) = (count as f64 * 100.0 / total as f64, share * 100.0 / all);
            writeln!(
                out,
                "    {name}  weight {weight}  {bar:BAR$} {count:4}  {found:5.1} %  (expected: {expected:.1} %)"
            )?;
        }
        Ok(())
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let tally = self.tally;
        let kinds = format!("{} plain, {} streamed in {} pieces", tally.plain, tally.streamed, tally.pieces);
        row(out, "requests sent", tally.sent(), &kinds)?;
        row(out, "failed", tally.failures.len(), "")?;
        for failure in tally.failures.iter().take(SHOWN) {
            writeln!(out, "    {failure}")?;
        }
        let generations = [self.before.generation(), self.after.generation()];
        let modules = [self.plugin, self.replacement];
        for ((generation, count), module) in generations.iter().zip(self.after.decisions()).zip(modules) {
            row(out, &format!("decisions of generation {generation}"), count, module)?;
        }
        row(out, "left to the fallback", self.after.fallbacks, "")?;
        if let Some(times) = self.page.times(self.plugin) {
            let note = format!("of {} that were timed, in a build that is not optimised", times.timed);
            row(out, "decision time, p50", at_most(times.p50), &note)?;
            row(out, "decision time, p99", at_most(times.p99), "")?;
        }
        Ok(())
    }
}

fn row(out: &mut impl Write, what: &str, value: impl Display, note: &str) -> io::Result<()> {
    let value = value.to_string();
    writeln!(out, "{}", format!("  {what:28}{value:>10}   {note}").trim_end())
}

/// The upper bound of a bucket.
fn at_most(time: Duration) -> String {
    format!("≤ {:.1} µs", time.as_secs_f64() * 1e6)
}
