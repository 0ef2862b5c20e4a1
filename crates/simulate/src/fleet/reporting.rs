//! What workers tell the router of their load.

use crate::engine::{ReportedLoad, WorkerLook};
use sglang_router_rs::core::WorkerReport;

/// What the router remembers of a worker's last report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastReport {
    at: f64,
    generated: u64,
    is_first: bool,
}

impl LastReport {
    /// Nothing was reported before.
    pub(crate) fn none() -> Self {
        Self { at: 0.0, generated: 0, is_first: true }
    }

    /// True if an engine has generated less than it had: it began anew.
    pub(crate) fn is_above(&self, look: &WorkerLook) -> bool {
        self.generated > look.generated
    }

    /// What an engine of this kind tells that looks like this now; of its speed, what it did since its last
    /// report.
    pub(crate) fn next(&mut self, kind: ReportedLoad, look: &WorkerLook, now: f64) -> WorkerReport {
        let (generated, past) = (look.generated.saturating_sub(self.generated), now - self.at);
        let is_first = std::mem::replace(self, Self { at: now, generated: look.generated, is_first: false });
        let throughput = if is_first.is_first || past <= 0.0 { f32::NAN } else { rate(generated, past) };
        match kind {
            ReportedLoad::None => WorkerReport::UNKNOWN,
            ReportedLoad::Vllm | ReportedLoad::Sglang => WorkerReport {
                running: count(look.running.into()),
                waiting: count(look.waiting.into()),
                queued_tokens: match kind {
                    ReportedLoad::Sglang => count(look.queued_tokens),
                    _ => WorkerReport::UNKNOWN.queued_tokens,
                },
                kv_usage: share(look.kv_usage),
                throughput,
                report_age_ms: 0,
                ..WorkerReport::UNKNOWN
            },
        }
    }
}

fn count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "columns have so many digits")]
fn share(share: f64) -> f32 {
    share as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an average")]
fn rate(count: u64, seconds: f64) -> f32 {
    (count as f64 / seconds) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_tells_what_its_kind_of_engine_tells() {
        let look = WorkerLook { running: 3, waiting: 2, queued_tokens: 700, kv_usage: 0.25, generated: 50 };
        let mut last = LastReport::none();
        let first = last.next(ReportedLoad::Vllm, &look, 1.0);
        assert_eq!((first.running, first.waiting, first.queued_tokens, first.kv_usage), (3, 2, -1, 0.25));
        assert!(first.throughput.is_nan());
        let next = last.next(ReportedLoad::Sglang, &WorkerLook { generated: 90, ..look }, 3.0);
        assert_eq!((next.queued_tokens, next.throughput, next.report_age_ms), (700, 20.0, 0));
        assert!(last.next(ReportedLoad::None, &WorkerLook { generated: 99, ..look }, 4.0).is_silent());
    }
}
