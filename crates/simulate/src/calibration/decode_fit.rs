//! What a step takes in which sequences decode.

use crate::calibration::least_squares::{FitPoint, LineFit, fit};
use crate::calibration::measurements::MeasuredDecode;

/// Of each step, of each sequence in it, and of each token of their context; `None` if nothing was measured.
pub(crate) fn decode_fit(decodes: &[MeasuredDecode]) -> Option<LineFit> {
    let points: Vec<FitPoint> = decodes
        .iter()
        .filter(|decode| decode.seconds > 0.0)
        .map(|decode| FitPoint {
            terms: [1.0, f64::from(decode.sequences), decode.context],
            value: decode.seconds,
        })
        .collect();
    fit(&points)
}
