//! What reports are drawn with: pages of one file, without scripts and without anything from elsewhere.

mod svg;
mod names;

pub use crate::page::names::{breakable, key};
pub use crate::page::svg::{Axis, Mark, Plot, Series, escaped};

/// The style of a page: what a telephone can show, in light and in dark.
pub const STYLE: &str = include_str!("report.css");
