//! A figure over several seeds.

use serde::Serialize;

/// A figure over several seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedSpread {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// The mean of some values, the least and the greatest; `None` of none.
#[expect(clippy::cast_precision_loss, reason = "there are few seeds")]
pub(crate) fn spread(values: impl Iterator<Item = f64> + Clone) -> Option<SeedSpread> {
    let count = values.clone().count();
    (count > 0).then(|| SeedSpread {
        mean: values.clone().sum::<f64>() / count as f64,
        min: values.clone().fold(f64::INFINITY, f64::min),
        max: values.fold(f64::NEG_INFINITY, f64::max),
    })
}
