//! Quantiles of what was measured.

use serde::Serialize;

/// Mean and quantiles of some times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QuantileSet {
    /// The mean.
    pub mean: f64,
    /// Half of them are at most this.
    pub p50: f64,
    /// Nine tenths.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// All of them.
    pub max: f64,
}

impl QuantileSet {
    /// Those of these values, which are put in order; `None` of none.
    pub fn of(values: &mut [f32]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        values.sort_unstable_by(f32::total_cmp);
        let at = |quantile: f64| value_at(values, quantile).into();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let count = values.len() as f64;
        let sum: f64 = values.iter().copied().map(f64::from).sum();
        Some(Self { mean: sum / count, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) })
    }
}

/// Points of the distribution of these values, which are in order: a value, and the share of all that are not
/// above it. As close to each other as a plot can show, up to four nines.
pub(crate) fn curve(values: &[f32]) -> Vec<(f64, f64)> {
    const POINTS: u32 = 80;
    let share = |point: u32| 1.0 - 10_f64.powf(-4.0 * f64::from(point) / f64::from(POINTS));
    let point = |point: u32| (f64::from(value_at(values, share(point))), share(point));
    if values.is_empty() { Vec::new() } else { (0..=POINTS).map(point).collect() }
}

/// The least of the values, which are in order, that so many of them are not above.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rank is within the length"
)]
fn value_at(values: &[f32], quantile: f64) -> f32 {
    let rank = (quantile * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<f32> = (1..=200_u16).rev().map(f32::from).collect();
        let found = QuantileSet::of(&mut values).unwrap();
        assert_eq!(found, QuantileSet { mean: 100.5, p50: 100.0, p90: 180.0, p99: 198.0, max: 200.0 });
        assert_eq!(QuantileSet::of(&mut []), None);
        assert_eq!(QuantileSet::of(&mut [3.0]).unwrap().p50, 3.0);
        let curve = curve(&values);
        assert_eq!((curve[0], curve[40].0), ((1.0, 0.0), 198.0));
    }
}
