//! What may be changed while a worker runs, through `/sim/control`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest extra delay: an hour.
const MAX_DELAY_MS: u64 = 3_600_000;

/// A change: what it does not name stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlPatch {
    healthy: Option<bool>,
    fail_rate: Option<f64>,
    extra_delay_ms: Option<u64>,
}

/// The settings in force.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ControlState {
    /// What `/health` and `/health_generate` answer; requests are served either way.
    pub(crate) healthy: bool,
    /// Share of inference requests that fail.
    pub(crate) fail_rate: f64,
    /// Real time, not scaled, that every inference request waits before anything else.
    pub(crate) extra_delay_ms: u64,
}

/// Holds the settings.
///
/// # Concurrency
/// Single values without an order between them; `Relaxed` throughout. A request that races a
/// change sees the old or the new setting.
#[derive(Debug)]
pub(crate) struct Control {
    healthy: AtomicBool,
    fail_rate_bits: AtomicU64,
    extra_delay_ms: AtomicU64,
    ending: AtomicBool,
    silent: AtomicBool,
}

impl Control {
    pub(crate) fn new(fail_rate: f64) -> Self {
        Self {
            healthy: AtomicBool::new(true),
            fail_rate_bits: AtomicU64::new(fail_rate.to_bits()),
            extra_delay_ms: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        }
    }

    /// Applies a change whole or not at all.
    ///
    /// # Errors
    /// Which value is out of its range.
    pub(crate) fn apply(&self, patch: &ControlPatch) -> Result<(), String> {
        if let Some(rate) = patch.fail_rate
            && !(0.0..=1.0).contains(&rate)
        {
            return Err(format!("fail_rate is {rate}: expected 0 to 1"));
        }
        if let Some(delay) = patch.extra_delay_ms
            && delay > MAX_DELAY_MS
        {
            return Err(format!("extra_delay_ms is {delay}: expected at most {MAX_DELAY_MS}"));
        }
        if let Some(healthy) = patch.healthy {
            self.healthy.store(healthy, Ordering::Relaxed);
        }
        if let Some(rate) = patch.fail_rate {
            self.fail_rate_bits.store(rate.to_bits(), Ordering::Relaxed);
        }
        if let Some(delay) = patch.extra_delay_ms {
            self.extra_delay_ms.store(delay, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> ControlState {
        ControlState {
            healthy: self.is_healthy(),
            fail_rate: self.fail_rate(),
            extra_delay_ms: self.extra_delay_ms.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// The worker was told to end.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// From now on nothing is answered, and streams are not gone on with, though connections stay open.
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    pub(crate) fn fail_rate(&self) -> f64 {
        f64::from_bits(self.fail_rate_bits.load(Ordering::Relaxed))
    }

    pub(crate) fn extra_delay(&self) -> Duration {
        Duration::from_millis(self.extra_delay_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_changes_only_what_it_names() {
        let control = Control::new(0.25);
        let patch = serde_json::from_str(r#"{"extra_delay_ms": 7}"#).unwrap();
        control.apply(&patch).unwrap();
        let expected = ControlState { healthy: true, fail_rate: 0.25, extra_delay_ms: 7 };
        assert_eq!(control.state(), expected);
    }

    #[test]
    fn patch_out_of_range_changes_nothing() {
        let control = Control::new(0.0);
        let patch = serde_json::from_str(r#"{"healthy": false, "fail_rate": 2}"#).unwrap();
        assert!(control.apply(&patch).unwrap_err().contains("fail_rate is 2"));
        assert!(control.is_healthy());
    }

    #[test]
    fn patch_with_an_unknown_field_is_refused() {
        serde_json::from_str::<ControlPatch>(r#"{"helthy": false}"#).unwrap_err();
    }
}
