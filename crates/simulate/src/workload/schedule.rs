//! When requests come: a workload's times, at some load, with what its stamps leave open drawn by chance.

use crate::workload::requests::Workload;

/// Stamps that are no further apart than this, in seconds, are meant to be one.
const FINE: f64 = 0.01;
/// Requests that share a stamp on average, at least, where stamps are times that somebody rounded.
const SHARED: usize = 2;

/// The times at which the requests of a workload come, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivalTimes {
    /// Seconds from the beginning, and the number of the request.
    order: Vec<(f64, u32)>,
}

impl ArrivalTimes {
    /// The times of a workload divided by `load`. Where they are stamps of some seconds, as those of
    /// Mooncake's traces, requests are spread over each of them by this seed; `spread` says over how many
    /// seconds if the stamps shall not.
    pub fn new(workload: &Workload, load: f64, spread: Option<f64>, seed: u64) -> Self {
        let spread = spread.unwrap_or_else(|| step_of(workload));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut order: Vec<(f64, u32)> = workload
            .requests()
            .iter()
            .zip(0..)
            .filter(|(_, number)| workload.turn(*number).is_none_or(|turn| turn.after.is_none()))
            .map(|(request, number)| ((request.at + spread * random.f64()) / load, number))
            .collect();
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self { order }
    }

    /// Seconds from the beginning, and the number of the request; without those that come when another is
    /// answered.
    pub fn order(&self) -> &[(f64, u32)] {
        &self.order
    }
}

/// The step of the stamps, in seconds, if they are coarse: the usual gap between two, where several requests
/// share one on average. Some are off by milliseconds in traces, so that they are no multiples of anything.
fn step_of(workload: &Workload) -> f64 {
    let times = workload.requests().iter().map(|request| request.at);
    let mut gaps: Vec<f64> = times.clone().zip(times.skip(1)).map(|(one, next)| next - one).collect();
    gaps.retain(|gap| *gap > FINE);
    let is_coarse = gaps.len() < workload.requests().len() / SHARED;
    gaps.sort_by(f64::total_cmp);
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    if is_coarse { usual } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(times: &[f64]) -> Workload {
        let mut workload = Workload::new(512);
        times.iter().for_each(|at| workload.push(*at, 1, 1, &[]));
        workload
    }

    #[test]
    fn stamps_of_some_seconds_are_spread_by_the_seed_and_fine_ones_are_kept() {
        let stamps: Vec<f64> =
            (0..30).map(|at| f64::from(at / 3) * 3.0 + f64::from(at % 3) * 0.001).collect();
        let coarse = workload(&stamps);
        let times = ArrivalTimes::new(&coarse, 2.0, None, 1);
        assert!(times.order().is_sorted());
        let mut last = 0.0;
        for (at, number) in times.order() {
            let stamp = coarse.request(*number).unwrap().at / 2.0;
            assert!((stamp..stamp + 1.51).contains(at), "{at} {stamp}");
            last = f64::max(last, at - stamp);
        }
        assert!(last > 1.2, "{last}");
        assert_eq!(times, ArrivalTimes::new(&coarse, 2.0, None, 1));
        assert_ne!(times, ArrivalTimes::new(&coarse, 2.0, None, 2));
        assert_eq!(ArrivalTimes::new(&coarse, 1.0, Some(0.0), 1).order()[6], (6.0, 6));
        let fine = workload(&[0.0, 3.001, 4.5]);
        assert_eq!(ArrivalTimes::new(&fine, 1.0, None, 1).order(), [(0.0, 0), (3.001, 1), (4.5, 2)]);
    }
}
