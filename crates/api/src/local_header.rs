//! The header of changes that are meant for one router of a fleet alone.

/// The header of changes that are meant for one router of a fleet alone; its value counts for nothing.
pub const LOCAL_HEADER: &str = "x-sgl-local";
