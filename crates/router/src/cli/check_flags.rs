//! The flags of `sgl-router serve` that only look whether it could.

use clap::Args;

/// Flags of `serve` with which nothing is served.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct StartCheckFlags {
    /// Starts nothing: does everything that a start does up to listening, and tells all faults at once; exit
    /// code 0: it would start, 1: it would not
    #[arg(long)]
    pub check: bool,
    /// With --check: prints JSON for scripts
    #[arg(long, requires = "check")]
    pub json: bool,
}
