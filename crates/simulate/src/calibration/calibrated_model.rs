//! The numbers of a model as they follow from what was measured, each with where it is from.

use serde::Serialize;

use crate::calibration::decode_fit::decode_fit;
use crate::calibration::measurements::{MeasuredRepeat, Measurements, median};
use crate::calibration::prompt_fit::{FoundChunk, PromptFit};
use crate::engine::EngineModel;

/// The second of two equal prompts takes at most this share of the first, if a cache had it.
const CACHED_SHARE: f64 = 0.6;
/// Said of what keeps its default.
const UNKNOWN: &str = "could not be measured";

/// A model, and what is known of its numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibratedModel {
    /// The model.
    pub model: EngineModel,
    /// Where its numbers are from, in the order of a model's file.
    pub numbers: Vec<CalibratedNumber>,
    /// How far off the fit of streams is, as a share: the median over what was measured.
    pub decode_off: Option<f64>,
    /// The same of prompts alone.
    pub prompt_off: Option<f64>,
    /// The same of prompts that came together.
    pub burst_off: Option<f64>,
}

/// Where a number of a model is from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibratedNumber {
    /// Its key in a model's file.
    pub key: &'static str,
    /// How it came about.
    pub origin: NumberOrigin,
    /// Its standard error, if it has one.
    pub error: Option<f64>,
    /// What else is to be said of it; may be empty.
    pub note: String,
}

/// How a number of a model came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberOrigin {
    /// It was measured.
    Measured,
    /// The engine tells it.
    Told,
    /// Nothing is known of it: it has its default.
    Default,
}

impl CalibratedModel {
    /// What follows from these measurements. What they do not tell has its default.
    pub fn of(measured: &Measurements) -> Self {
        let mut calibration = Self {
            model: EngineModel::default(),
            numbers: Vec::new(),
            decode_off: None,
            prompt_off: None,
            burst_off: None,
        };
        calibration.fit_decodes(measured);
        calibration.fit_prompts(measured);
        calibration.take_told(measured);
        calibration
    }

    /// True if at least one of its numbers was measured.
    pub fn is_measured(&self) -> bool {
        self.numbers.iter().any(|number| number.origin == NumberOrigin::Measured)
    }

    fn fit_decodes(&mut self, measured: &Measurements) {
        let fit = decode_fit(&measured.decodes);
        self.decode_off = fit.map(|fit| fit.off);
        let model = &mut self.model;
        let places = [
            ("step_ms", &mut model.step_ms, 1e3),
            ("sequence_ms", &mut model.sequence_ms, 1e3),
            ("context_token_ns", &mut model.context_token_ns, 1e9),
        ];
        for (term, (key, place, unit)) in places.into_iter().enumerate() {
            let found = fit.map(|fit| fit.term(term));
            self.numbers.push(measured_number(key, place, found, unit));
        }
    }

    fn fit_prompts(&mut self, measured: &Measurements) {
        let default = EngineModel::default();
        let fit = PromptFit::of(measured, self.model.step_ms / 1e3, default.chunk_tokens);
        self.prompt_off = fit.map(|fit| fit.off);
        self.burst_off = fit.and_then(|fit| fit.burst_off);
        let model = &mut self.model;
        let (token, attention) = (fit.map(|fit| fit.token), fit.map(|fit| fit.attention));
        // Inverted, the relative error stays.
        let inverted = |over: f64, (value, error): (f64, f64)| (over / value, over * error / value.powi(2));
        let rate = token.filter(|(token, _)| *token > 0.0).map(|token| inverted(1.0, token));
        self.numbers.push(measured_number(
            "prompt_tokens_per_second",
            &mut model.prompt_tokens_per_second,
            rate,
            1.0,
        ));
        let tokens = token.zip(attention).filter(|(_, attention)| attention.1.is_finite());
        let tokens = tokens.map(
            |(token, attention)| {
                if attention.0 > 0.0 { inverted(token.0, attention) } else { (0.0, 0.0) }
            },
        );
        self.numbers.push(measured_number("attention_tokens", &mut model.attention_tokens, tokens, 1.0));
        for (key, place, found, unit) in [
            ("prompt_ms", &mut model.prompt_ms, fit.map(|fit| fit.part), 1e3),
            ("request_ms", &mut model.request_ms, fit.map(|fit| fit.way), 1e3),
            ("request_token_ns", &mut model.request_token_ns, fit.map(|fit| fit.way_token), 1e9),
        ] {
            self.numbers.push(measured_number(key, place, found, unit));
        }
        let chunk = fit.map(|fit| fit.chunk).unwrap_or_default();
        model.chunk_tokens = chunk.or(default.chunk_tokens);
        let (origin, note) = match chunk {
            FoundChunk::Unknown => (NumberOrigin::Default, UNKNOWN.to_owned()),
            FoundChunk::AtLeast(tokens) => (
                if tokens > default.chunk_tokens { NumberOrigin::Measured } else { NumberOrigin::Default },
                format!("a prompt of {tokens} was processed in one step: at least that"),
            ),
            FoundChunk::Found(_, found) => {
                (NumberOrigin::Measured, format!("from gaps of a stream: {found:.0}"))
            }
        };
        self.numbers.push(CalibratedNumber { key: "chunk_tokens", origin, error: None, note });
    }

    fn take_told(&mut self, measured: &Measurements) {
        let (model, told) = (&mut self.model, measured.told);
        let known = |known: bool| if known { NumberOrigin::Told } else { NumberOrigin::Default };
        let mut say = |key, origin, note: &str| {
            self.numbers.push(CalibratedNumber { key, origin, error: None, note: note.to_owned() });
        };
        model.max_sequences = told.max_sequences.unwrap_or(model.max_sequences);
        say("max_sequences", known(told.max_sequences.is_some()), "");
        model.block_tokens = told.block_tokens.unwrap_or(model.block_tokens).max(1);
        let blocks = told.kv_tokens.map(|tokens| (tokens / model.block_tokens).max(1));
        model.kv_blocks = blocks.unwrap_or(model.kv_blocks);
        say("kv_blocks", known(blocks.is_some()), "");
        say("block_tokens", known(told.block_tokens.is_some()), "");
        let (prefix_cache, note) = prefix_cache(&measured.repeats);
        model.prefix_cache = prefix_cache.unwrap_or(model.prefix_cache);
        let origin = if prefix_cache.is_some() { NumberOrigin::Measured } else { NumberOrigin::Default };
        say("prefix_cache", origin, &note);
        say("order", NumberOrigin::Default, "not measured");
        model.reports = told.reports.unwrap_or(model.reports);
        say("reports", known(told.reports.is_some()), "");
    }
}

fn measured_number(
    key: &'static str,
    place: &mut f64,
    found: Option<(f64, f64)>,
    unit: f64,
) -> CalibratedNumber {
    let number = |origin, error, note| CalibratedNumber { key, origin, error, note };
    match found {
        Some((value, error)) if error.is_finite() => {
            *place = rounded(EngineModel::nearest_allowed(key, value * unit));
            let error = rounded(error * unit);
            let note = if value > 0.0 { String::new() } else { "not told apart from 0".to_owned() };
            number(NumberOrigin::Measured, Some(error), note)
        }
        _ => number(NumberOrigin::Default, None, UNKNOWN.to_owned()),
    }
}

/// To four digits: no clock has more.
fn rounded(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

/// Whether prompts that were sent before are found again, and why that is said.
fn prefix_cache(repeats: &[MeasuredRepeat]) -> (Option<bool>, String) {
    let told: Vec<u32> = repeats.iter().filter_map(|repeat| repeat.cached).collect();
    if told.iter().any(|cached| *cached > 0) {
        return (Some(true), "the engine tells of cached tokens".to_owned());
    }
    match median(repeats.iter().map(|repeat| repeat.second / repeat.first)) {
        None => (None, UNKNOWN.to_owned()),
        Some(share) => {
            let note = format!("a prompt takes {:.0} % of its time when it is sent again", share * 100.0);
            (Some(share < CACHED_SHARE), note)
        }
    }
}
