//! What a policy sees of one decision, in a form that can be compared.

use std::collections::BTreeMap;

use sglang_router_rs::core::{Column, EngineFacts};

/// One worker, its facts and its signals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WorkerView {
    pub(crate) url: String,
    pub(crate) model: Option<String>,
    /// `regular`, `prefill` or `decode`.
    pub(crate) role: String,
    pub(crate) weight: f64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) engine: EngineFacts,
    pub(crate) healthy: bool,
    pub(crate) excluded: bool,
    pub(crate) prefix_match: i32,
    /// Bits, so that NaN equals itself.
    pub(crate) numbers: [u32; Column::COUNT],
}

/// The bits of a column, of ages only whether they are known: they differ each time.
pub(crate) fn seen(column: Column, bits: u32) -> u32 {
    if column == Column::ReportAgeMs { u32::from(bits.cast_signed() >= 0) } else { bits }
}

/// All of it. What differs each time (`random`, `now_ns`) is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) workers: Vec<WorkerView>,
    pub(crate) text: Option<String>,
    pub(crate) tokens: Option<Vec<u32>>,
    pub(crate) prompt_bytes: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) prompt_tokens_exact: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) route: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) prefix_hashes: Option<Vec<u64>>,
    /// Bits, so that NaN equals itself.
    pub(crate) arrival_rate: u32,
    /// The value at `/a/0`, and that of the parameter `q`.
    pub(crate) named: [Option<String>; 2],
    pub(crate) model: Option<String>,
    /// How long it waited, how long it may yet, and how many are held.
    pub(crate) waiting: [u64; 3],
    /// The values of `x-a` and `x-b`.
    pub(crate) headers: [Option<String>; 2],
    /// 0 single, 1 prefill, 2 decode.
    pub(crate) leg: u8,
}
