//! failures_wall_clock
