//! When requests are due: an endless or finite row of instants, known before the first is sent.

use std::sync::Arc;
use std::time::Duration;

use crate::load::trace::Trace;

/// When requests are sent.
#[derive(Clone, Debug)]
pub enum Pace {
    /// Closed loop: so many connections, each of which asks again as soon as it is answered.
    Closed {
        /// Connections, at least 1.
        connections: usize,
    },
    /// Open loop: one request every 1/rate seconds, whatever becomes of those before it.
    Constant {
        /// Requests per second, above 0.
        per_second: f64,
    },
    /// Open loop: independent clients; the gaps between requests are exponentially distributed.
    Poisson {
        /// Requests per second on average, above 0.
        per_second: f64,
    },
    /// Open loop: as a trace says.
    Trace {
        /// What was recorded.
        trace: Arc<Trace>,
        /// 2 replays it twice as fast. Above 0.
        speed: f64,
    },
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its number, from 0: which prompt it gets.
    pub number: u64,
    /// From the start of the round.
    pub at: Duration,
}

/// The arrivals of one round, in order of time. The same pace and seed give the same arrivals.
#[derive(Debug)]
pub(crate) struct Arrivals {
    schedule: Schedule,
    next: u64,
}

#[derive(Debug)]
enum Schedule {
    None,
    Constant { per_second: f64 },
    Poisson { per_second: f64, at_seconds: f64, random: fastrand::Rng },
    Trace { trace: Arc<Trace>, speed: f64 },
}

impl Arrivals {
    /// Arrivals at this pace; none for a closed loop, whose requests depend on the answers.
    pub(crate) fn new(pace: &Pace, seed: u64) -> Self {
        let schedule = match pace {
            Pace::Closed { .. } => Schedule::None,
            Pace::Constant { per_second } => Schedule::Constant { per_second: *per_second },
            Pace::Poisson { per_second } => Schedule::Poisson {
                per_second: *per_second,
                at_seconds: 0.0,
                random: fastrand::Rng::with_seed(seed),
            },
            Pace::Trace { trace, speed } => Schedule::Trace { trace: Arc::clone(trace), speed: *speed },
        };
        Self { schedule, next: 0 }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let number = self.next;
        let seconds = match &mut self.schedule {
            Schedule::None => return None,
            // Counted from the start each time, so that no error adds up.
            Schedule::Constant { per_second } => number as f64 / *per_second,
            Schedule::Poisson { per_second, at_seconds, random } => {
                // 1 - f64() is above 0, so the logarithm is finite.
                *at_seconds -= (1.0 - random.f64()).ln() / *per_second;
                *at_seconds
            }
            Schedule::Trace { trace, speed } => {
                let entry = trace.entries().get(usize::try_from(number).ok()?)?;
                entry.at.as_secs_f64() / *speed
            }
        };
        self.next += 1;
        // Beyond what a `Duration` holds nothing is ever due.
        Some(Arrival { number, at: Duration::try_from_secs_f64(seconds).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_equally_spaced() {
        let arrivals = Arrivals::new(&Pace::Constant { per_second: 4.0 }, 0);
        let at: Vec<u128> = arrivals.take(4).map(|arrival| arrival.at.as_millis()).collect();
        assert_eq!(at, [0, 250, 500, 750]);
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_spread_of_an_exponential_distribution() {
        let pace = Pace::Poisson { per_second: 100.0 };
        let at: Vec<f64> = Arrivals::new(&pace, 7).take(20_000).map(|due| due.at.as_secs_f64()).collect();
        let gaps: Vec<f64> =
            std::iter::once(at[0]).chain(at.windows(2).map(|pair| pair[1] - pair[0])).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Both are 10 ms; with a fixed seed there is nothing to chance.
        assert!((mean - 0.01).abs() < 0.0002, "mean {mean}");
        assert!((variance.sqrt() - 0.01).abs() < 0.0004, "deviation {}", variance.sqrt());
    }

    #[test]
    fn poisson_arrivals_repeat_with_their_seed_only() {
        let pace = Pace::Poisson { per_second: 10.0 };
        let arrivals = |seed| Arrivals::new(&pace, seed).take(50).collect::<Vec<_>>();
        assert_eq!(arrivals(1), arrivals(1));
        assert_ne!(arrivals(1), arrivals(2));
    }

    #[test]
    fn trace_arrives_as_recorded_but_faster() {
        let lines = "{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\n\
                     {\"timestamp\":3000,\"input_length\":1,\"output_length\":1}\n";
        let trace = Arc::new(Trace::read(lines.as_bytes()).unwrap());
        let arrivals: Vec<Arrival> = Arrivals::new(&Pace::Trace { trace, speed: 2.0 }, 0).collect();
        assert_eq!(arrivals.last(), Some(&Arrival { number: 1, at: Duration::from_millis(1500) }));
        assert_eq!(arrivals.len(), 2);
    }

    #[test]
    fn closed_loop_has_no_arrivals() {
        assert_eq!(Arrivals::new(&Pace::Closed { connections: 3 }, 0).count(), 0);
    }
}
