//! How long an accelerator would take: pure arithmetic, no clock.

use std::time::Duration;

use crate::sim::config::SimConfig;

/// How much each further sequence in the batch lengthens a decode step. Decoding is bound by
/// memory bandwidth: the weights are read once for all, each sequence adds its own KV cache, so a
/// batch of 64 takes about twice the step of a batch of one.
const GROWTH_PER_SEQUENCE: f64 = 1.0 / 64.0;

/// No modelled time is longer, so that adding it to an instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The time model of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeModel {
    prefill_base: Duration,
    prefill_tokens_per_second: f64,
    decode_step: Duration,
    jitter: f64,
    scale: f64,
}

impl TimeModel {
    /// Takes its numbers from a checked configuration.
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self {
            prefill_base: config.prefill_base,
            prefill_tokens_per_second: config.prefill_tokens_per_second,
            decode_step: config.decode_step,
            jitter: config.jitter,
            scale: config.time_scale,
        }
    }

    /// True if nothing takes time, so that no timer needs to be set.
    pub(crate) fn is_instant(&self) -> bool {
        self.scale == 0.0
    }

    /// Time to prefill the part of a prompt that no cache holds. `unit` in `0.0..1.0` picks the
    /// point within the jitter.
    pub(crate) fn prefill(&self, uncached_tokens: u32, unit: f64) -> Duration {
        let work = f64::from(uncached_tokens) / self.prefill_tokens_per_second;
        self.scaled(self.prefill_base.as_secs_f64() + work, unit)
    }

    /// Time of one decode step while `running` sequences (at least 1) share the batch.
    pub(crate) fn decode_step(&self, running: usize, unit: f64) -> Duration {
        let others = running.saturating_sub(1) as f64;
        let growth = GROWTH_PER_SEQUENCE.mul_add(others, 1.0);
        self.scaled(self.decode_step.as_secs_f64() * growth, unit)
    }

    fn scaled(&self, seconds: f64, unit: f64) -> Duration {
        let jitter = 1.0 + self.jitter * unit.mul_add(2.0, -1.0);
        Duration::try_from_secs_f64(seconds * jitter * self.scale).unwrap_or(LONGEST).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(jitter: f64, time_scale: f64) -> TimeModel {
        TimeModel::new(&SimConfig {
            prefill_base: Duration::from_millis(5),
            prefill_tokens_per_second: 1000.0,
            decode_step: Duration::from_millis(10),
            jitter,
            time_scale,
            ..SimConfig::default()
        })
    }

    #[test]
    fn prefill_is_base_plus_uncached_tokens_at_the_rate() {
        let model = model(0.0, 1.0);
        assert_eq!(model.prefill(0, 0.5), Duration::from_millis(5));
        assert_eq!(model.prefill(200, 0.5), Duration::from_millis(205));
    }

    #[test]
    fn decode_step_grows_with_the_batch() {
        let model = model(0.0, 1.0);
        assert_eq!(model.decode_step(1, 0.5), Duration::from_millis(10));
        assert_eq!(model.decode_step(65, 0.5), Duration::from_millis(20));
    }

    #[test]
    fn jitter_spreads_evenly_around_the_modelled_time() {
        let model = model(0.1, 1.0);
        assert_eq!(model.decode_step(1, 0.0), Duration::from_millis(9));
        assert_eq!(model.decode_step(1, 0.5), Duration::from_millis(10));
        assert!(model.decode_step(1, 0.999) < Duration::from_millis(11));
    }

    #[test]
    fn scale_stretches_all_times_and_zero_removes_them() {
        assert_eq!(model(0.0, 2.0).decode_step(1, 0.5), Duration::from_millis(20));
        assert_eq!(model(0.0, 0.0).prefill(1000, 0.5), Duration::ZERO);
        assert!(model(0.0, 0.0).is_instant());
        assert!(!model(0.0, 0.1).is_instant());
    }

    #[test]
    fn absurd_rates_end_at_a_day_instead_of_overflowing() {
        let mut slow = model(0.0, 1000.0);
        slow.prefill_tokens_per_second = 1e-300;
        assert_eq!(slow.prefill(1, 0.5), LONGEST);
    }
}
