//! How fast workers are.

/// Work after which what was learnt counts for a third, in seconds.
const MEMORY: f64 = 120.0;
/// Seconds of the fleet's pace that stand for a worker of which little is known, and of the nominal pace for
/// a fleet of which little is known.
const PRIOR_WORKER: f64 = 60.0;
const PRIOR_FLEET: f64 = 5.0;
/// Paces within this factor of the fleet's are equal to it. Without it noise feeds back: who seems faster gets
/// more, and shares drift.
const DEAD_BAND: f64 = 1.15;
/// No pace is beyond these.
const SLOWEST: f64 = 1e-3;
const FASTEST: f64 = 1e3;

/// Work that was done, in seconds at the nominal rate, and the time that it took; both decay as work is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WorkPace {
    pub(crate) work: f64,
    pub(crate) time: f64,
}

impl WorkPace {
    /// Learns of work that one of so many workers has done.
    pub(crate) fn learn(&mut self, work: f64, time: f64, workers: f64) {
        let kept = decay(work / (MEMORY * f64::max(workers, 1.0)));
        self.work = self.work * kept + work;
        self.time = self.time * kept + time;
    }

    /// That of the fleet whose sums these are: seconds of work in a second.
    pub(crate) fn of_fleet(self) -> f64 {
        f64::clamp((self.work + PRIOR_FLEET) / (self.time + PRIOR_FLEET), SLOWEST, FASTEST)
    }

    /// That of the worker whose sums these are, in a fleet of this pace.
    pub(crate) fn of_worker(self, fleet: f64) -> f64 {
        let own = (self.work + PRIOR_WORKER * fleet) / (self.time + PRIOR_WORKER);
        let within = own < fleet * DEAD_BAND && fleet < own * DEAD_BAND;
        f64::clamp(if within { fleet } else { own }, SLOWEST, FASTEST)
    }
}

/// e to the power of minus `x`, to four digits, for an `x` that is not negative. `core` has no exponential.
fn decay(x: f64) -> f64 {
    // A 64th of it by four terms of the series of e^x, then six squarings.
    let part = f64::clamp(x, 0.0, 700.0) / 64.0;
    let once = 1.0 / (1.0 + part * (1.0 + part / 2.0 * (1.0 + part / 3.0 * (1.0 + part / 4.0))));
    (0..6).fold(once, |kept, _| kept * kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_is_the_exponential() {
        for x in [0.0, 1e-6, 0.01, 0.5, 1.0, 3.0, 10.0] {
            let expected = f64::exp(-x);
            assert!((decay(x) - expected).abs() < 1e-4 * expected, "{x}: {}", decay(x));
        }
        assert!(decay(1e9) < 1e-100 && decay(-1.0) == 1.0 && decay(f64::NAN).is_nan());
    }

    #[test]
    fn pace_is_learnt_beyond_the_dead_band_and_forgotten() {
        let mut slow = WorkPace::default();
        assert_eq!((slow.of_worker(2.0), slow.of_fleet()), (2.0, 1.0));
        (0..20).for_each(|_| slow.learn(1.0, 1.1, 1.0));
        assert_eq!(slow.of_worker(1.0), 1.0, "a tenth is noise");
        (0..1_000).for_each(|_| slow.learn(1.0, 2.0, 1.0));
        let pace = slow.of_worker(1.0);
        assert!((0.5..0.7).contains(&pace), "{pace}");
        (0..2_000).for_each(|_| slow.learn(1.0, 0.5, 1.0));
        let pace = slow.of_worker(1.0);
        assert!((1.5..2.0).contains(&pace), "{pace}");
    }
}
