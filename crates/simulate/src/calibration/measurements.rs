//! What is measured of an engine, and what it tells of itself.

use serde::Serialize;

use crate::engine::ReportedLoad;

/// All that is known of an engine. Times are in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measurements {
    /// Prompts with nothing beside them.
    pub prompts: Vec<MeasuredPrompt>,
    /// Prompts that came together.
    pub bursts: Vec<MeasuredBurst>,
    /// Streams that had nothing else beside them.
    pub decodes: Vec<MeasuredDecode>,
    /// Streams that had a long prompt beside them.
    pub stalls: Vec<MeasuredStall>,
    /// Prompts that were sent twice.
    pub repeats: Vec<MeasuredRepeat>,
    /// What it tells of itself.
    pub told: ToldByEngine,
}

/// A prompt with nothing beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasuredPrompt {
    /// Its tokens.
    pub tokens: u32,
    /// Until the first token of its answer.
    pub seconds: f64,
}

/// Prompts of one length that came together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredBurst {
    /// Tokens of each of them.
    pub tokens: u32,
    /// Until the first token of each answer, in ascending order.
    pub firsts: Vec<f64>,
}

/// Streams that had nothing else beside them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasuredDecode {
    /// How many there were.
    pub sequences: u32,
    /// Tokens of their context, all together, on average.
    pub context: f64,
    /// Of a step, on average.
    pub seconds: f64,
}

/// A stream that had a long prompt beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredStall {
    /// Tokens of the prompt.
    pub tokens: u32,
    /// Between two tokens of the stream before the prompt was there.
    pub usual_gap: f64,
    /// The same while it was processed.
    pub gaps: Vec<f64>,
}

/// A prompt that was sent twice, one time after the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasuredRepeat {
    /// Until the first token of the first answer.
    pub first: f64,
    /// The same of the second.
    pub second: f64,
    /// Tokens of the second prompt that were cached, if the engine says so.
    pub cached: Option<u32>,
}

/// What an engine tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ToldByEngine {
    /// Tokens that its KV cache holds.
    pub kv_tokens: Option<u32>,
    /// Tokens of a block.
    pub block_tokens: Option<u32>,
    /// Requests that it processes at a time at most.
    pub max_sequences: Option<u32>,
    /// What it reports of its load; `None` if it was not asked.
    pub reports: Option<ReportedLoad>,
}

/// The middle of these; `None` of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}
