//! From times that were measured of an engine to the numbers of its model: arithmetic only.
//!
//! ```text
//!  measurements ─┬─ streams ──► step, sequence, context
//!                ├─ stalls ───► chunk          ┐ each
//!                ├─ alone ────► attention, way ┤ needs the
//!                └─ bursts ───► prompt, rate   ┘ others
//! ```
//!
//! Whoever measures calls it; it knows nothing of HTTP, and of no clock.

mod measurements;
mod least_squares;
mod decode_fit;
mod prompt_fit;
mod calibrated_model;
mod written_model;

pub use crate::calibration::calibrated_model::{CalibratedModel, CalibratedNumber, NumberOrigin};
pub use crate::calibration::measurements::{
    MeasuredBurst, MeasuredDecode, MeasuredPrompt, MeasuredRepeat, MeasuredStall, Measurements, ToldByEngine,
};
