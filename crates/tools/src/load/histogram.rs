//! Times, as a histogram with three digits from a microsecond to an hour (HdrHistogram).

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer times count as this.
const LONGEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// Points of a curve per halving of what is left above it.
const CURVE_POINTS: u32 = 8;

/// A histogram of times.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

/// What is told of a histogram; times in milliseconds, exact to three digits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many times were recorded.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them were at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Self(histogram.expect("these bounds are ones that the crate allows"))
    }
}

impl Times {
    /// Records one time.
    pub fn record(&mut self, time: Duration) {
        self.record_us(micros(time));
    }

    /// Records one time in microseconds.
    pub fn record_us(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    /// Adds the times of another histogram.
    pub fn merge(&mut self, other: &Self) {
        // Fails only if the bounds differ, and all have the same.
        let _ = self.0.add(&other.0);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What is told of them; nothing if there are none.
    pub fn quantiles(&self) -> Option<Quantiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| millis(self.0.value_at_quantile(quantile));
        Some(Quantiles {
            count: self.0.len(),
            mean: self.0.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(self.0.max()),
        })
    }

    /// The distribution as points (milliseconds, share of times that are at most that), closer to
    /// each other towards the longest.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let points = self.0.iter_quantiles(CURVE_POINTS);
        points.map(|point| (millis(point.value_iterated_to()), point.quantile())).collect()
    }
}

impl Quantiles {
    /// The median of each figure over several rounds; `count` is their sum, and `max` the longest of all
    /// of them. Nothing if no round has any.
    pub fn median(rounds: &[&Self]) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(|round| figure(round)));
        Some(Self {
            count: rounds.iter().map(|round| round.count).sum(),
            mean: of(|round| round.mean)?,
            p50: of(|round| round.p50)?,
            p90: of(|round| round.p90)?,
            p95: of(|round| round.p95)?,
            p99: of(|round| round.p99)?,
            p999: of(|round| round.p999)?,
            max: rounds.iter().map(|round| round.max).fold(0.0, f64::max),
        })
    }
}

/// The middle of these numbers, or the mean of the two in the middle; nothing if there are none.
pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// A time in whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut times = Times::default();
        assert_eq!(times.quantiles(), None);
        (1..=1000).for_each(|ms| times.record(Duration::from_millis(ms)));
        let quantiles = times.quantiles().unwrap();
        assert_eq!(quantiles.count, 1000);
        for (found, expected) in
            [(quantiles.p50, 500.0), (quantiles.p99, 990.0), (quantiles.max, 1000.0), (quantiles.mean, 500.5)]
        {
            assert!((found / expected - 1.0).abs() < 0.001, "{found} instead of {expected}");
        }
    }

    #[test]
    fn median_is_the_middle_of_odd_and_even_numbers() {
        for (numbers, middle) in
            [(vec![], None), (vec![3.0, 1.0, 2.0], Some(2.0)), (vec![4.0, 1.0, 2.0, 3.0], Some(2.5))]
        {
            assert_eq!(median(numbers.iter().copied()), middle, "{numbers:?}");
        }
    }

    #[test]
    fn longest_of_several_rounds_is_the_longest_of_all() {
        let rounds: Vec<Quantiles> = [1, 900, 2]
            .map(|ms| {
                let mut times = Times::default();
                times.record(Duration::from_millis(ms));
                times.quantiles().unwrap()
            })
            .to_vec();
        let median = Quantiles::median(&rounds.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((median.p99, median.max), (rounds[2].p99, rounds[1].max));
    }

    #[test]
    fn times_out_of_range_count_at_its_ends() {
        let mut times = Times::default();
        times.record(Duration::ZERO);
        times.record(Duration::from_secs(100_000));
        assert_eq!(times.count(), 2);
        assert!(times.quantiles().unwrap().max > 3_599_000.0);
    }

    #[test]
    fn merged_times_are_counted_once_each_and_the_curve_rises_to_all_of_them() {
        let (mut one, mut other) = (Times::default(), Times::default());
        one.record_us(10);
        other.record_us(1_000_000);
        one.merge(&other);
        let curve = one.curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        assert_eq!(curve.last().unwrap().1, 1.0);
        assert_eq!(one.count(), 2);
    }
}
