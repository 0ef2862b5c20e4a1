//! What a replay found.

use serde::Serialize;

use crate::replay::difference::DifferentDecision;
use crate::replay::missing_inputs::MissingInput;
use crate::replay::placement_figures::PlacementSummary;
use sgl_tools::load::Quantiles;
use sglang_router_rs::types::SkippedLines;

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayReport {
    /// What was read.
    pub records: RecordsReport,
    /// What policies are compared with: `recorded`, or a policy.
    pub reference: ReferenceReport,
    /// The policies.
    pub modules: Vec<ModuleReport>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RecordsReport {
    /// Requests.
    pub requests: u64,
    /// When the first of them came: milliseconds since 1970, UTC.
    pub from_unix_ms: Option<u64>,
    /// And the last.
    pub to_unix_ms: Option<u64>,
    /// Requests of which all inputs were recorded.
    pub with_all_inputs: u64,
    /// Decisions that were made again.
    pub decisions: u64,
    /// Those that were not, since nobody could be chosen.
    pub without_choice: u64,
    /// Those that were not, since what was chosen is not in the record.
    pub incomplete: u64,
    /// Decisions over more workers than were recorded.
    pub cut_short: u64,
    /// Workers that were seen.
    pub workers: usize,
    /// Lines that are no records.
    pub skipped: SkippedLines,
}

/// What policies are compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReferenceReport {
    /// `recorded`, or a policy's name.
    pub name: String,
    /// What its choices come to.
    pub figures: PlacementSummary,
    /// If it is a policy, decisions at which it lacked something that it declares.
    pub affected: u64,
    /// And what.
    pub missing: Vec<MissingInput>,
    /// If it is what was recorded: the times to the first byte of streams.
    pub measured_ttft_ms: Option<Quantiles>,
    /// If it is what was recorded: the share of prompt tokens that workers say they had.
    pub measured_hit_rate: Option<f64>,
}

/// A policy that was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModuleReport {
    /// Its name.
    pub name: String,
    /// Decisions that were alike.
    pub alike: u64,
    /// The share of those.
    pub agreement: f64,
    /// The others, by what made the difference, the most frequent first.
    pub reasons: Vec<ReasonCount>,
    /// Decisions at which it lacked something that it declares.
    pub affected: u64,
    /// And what.
    pub missing: Vec<MissingInput>,
    /// What its choices come to.
    pub figures: PlacementSummary,
    /// Where both sides chose other workers: how much later the first token comes by the estimate, on
    /// average in milliseconds.
    pub ttft_change_ms: Option<f64>,
}

/// Different decisions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReasonCount {
    /// The kind.
    pub reason: String,
    /// How many.
    pub decisions: u64,
    /// The first of them.
    pub examples: Vec<DifferentDecision>,
}

impl ReplayReport {
    /// True if each policy agrees so often.
    pub fn agrees(&self, least: f64) -> bool {
        self.modules.iter().all(|module| module.agreement >= least)
    }
}
