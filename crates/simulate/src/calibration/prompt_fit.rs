//! What prompts take: alone, together, and piece by piece.

use crate::calibration::least_squares::{FitPoint, LineFit, TERMS, fit};
use crate::calibration::measurements::{MeasuredBurst, MeasuredPrompt, MeasuredStall, Measurements, median};

/// Each of some numbers needs the others: how often they are worked out.
const ROUNDS: usize = 6;
/// A gap that is longer than the longest one by less than this has a part of the prompt in it.
const LEAST_PART: f64 = 0.15;
/// A gap with a part of a prompt in it is longer than usual by so much.
const LONGER: f64 = 1.5;

/// What prompts take, in seconds, with standard errors; those that are infinite say that nothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PromptFit {
    /// Of a token without attention.
    pub(crate) token: (f64, f64),
    /// Of a token for each before it.
    pub(crate) attention: (f64, f64),
    /// Of each prompt in a step.
    pub(crate) part: (f64, f64),
    /// On its way.
    pub(crate) way: (f64, f64),
    /// On its way, for each token.
    pub(crate) way_token: (f64, f64),
    /// Tokens in a step.
    pub(crate) chunk: FoundChunk,
    /// How far off prompts alone are, as a share; the median.
    pub(crate) off: f64,
    /// The same of bursts.
    pub(crate) burst_off: Option<f64>,
}

/// What is known of how many prompt tokens are in a step at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum FoundChunk {
    /// Nothing.
    #[default]
    Unknown,
    /// No prompt was so long that it was cut: this one was not.
    AtLeast(u32),
    /// So many, and what was measured before it was taken for the power of two that is near.
    Found(u32, f64),
}

impl FoundChunk {
    /// What to reckon with where `default` is known otherwise.
    pub(crate) fn or(self, default: u32) -> u32 {
        match self {
            Self::Unknown => default,
            Self::AtLeast(tokens) => default.max(tokens),
            Self::Found(tokens, _) => tokens,
        }
    }
}

impl PromptFit {
    /// Of an engine whose steps take so long, and that has this chunk if nothing else is found; `None` if
    /// prompts of several lengths were not measured.
    pub(crate) fn of(measured: &Measurements, step: f64, default_chunk: u32) -> Option<Self> {
        let mut found: Option<Self> = None;
        for _ in 0..ROUNDS {
            let chunk = found.map_or(default_chunk, |fit| fit.chunk.or(default_chunk));
            let part = found.map_or(0.0, |fit| fit.part.0);
            let alone = alone(&measured.prompts, step + part, chunk)?;
            let attention = alone.term(2);
            let burst = together(&measured.bursts, &alone, (step, part), chunk);
            let whole = alone.term(1);
            let (token, part) = match burst {
                Some(burst) => (burst.term(0), burst.term(1)),
                None => (whole, (0.0, f64::INFINITY)),
            };
            let way_token = if burst.is_some() { less(whole, token) } else { (0.0, f64::INFINITY) };
            found = Some(Self {
                token,
                attention,
                part,
                way: less(less(alone.term(0), (step, 0.0)), part),
                way_token,
                chunk: chunk_of(&measured.stalls, token.0, attention.0, part.0),
                off: alone.off,
                burst_off: burst.map(|burst| burst.off),
            });
        }
        found
    }
}

/// The difference of two numbers with errors, if it is above 0.
fn less(one: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    let other_error = if other.1.is_finite() { other.1 } else { 0.0 };
    ((one.0 - other.0).max(0.0), one.1.hypot(other_error))
}

/// What a prompt alone consists of: all but its length, its tokens, and each with each before it.
fn terms(tokens: u32) -> [f64; TERMS] {
    let tokens = f64::from(tokens);
    [1.0, tokens, tokens * tokens / 2.0]
}

/// Further steps of so many tokens.
fn more_steps(tokens: f64, chunk: u32) -> f64 {
    ((tokens / f64::from(chunk)).ceil() - 1.0).max(0.0)
}

/// Of prompts alone.
fn alone(prompts: &[MeasuredPrompt], step: f64, chunk: u32) -> Option<LineFit> {
    let points: Vec<FitPoint> = prompts
        .iter()
        .map(|MeasuredPrompt { tokens, seconds }| {
            let more = more_steps(f64::from(*tokens), chunk) * step;
            FitPoint { terms: terms(*tokens), value: seconds - more }
        })
        .filter(|point| point.value > 0.0)
        .collect();
    fit(&points)
}

/// Of prompts that come together, but for the first of them: each token, and each part of a prompt that is in
/// a step.
fn together(
    bursts: &[MeasuredBurst],
    alone: &LineFit,
    (step, part): (f64, f64),
    chunk: u32,
) -> Option<LineFit> {
    let point = |burst: &MeasuredBurst| {
        let others = f64::from(u32::try_from(burst.firsts.len().checked_sub(1)?).ok()?);
        let tokens = f64::from(burst.tokens);
        // A prompt is cut at the end of each full step; where fewer were there in time, there are more steps.
        let cuts = more_steps(tokens * (others + 1.0), chunk);
        let steps = cuts.max(ends(&burst.firsts, step) - 1.0);
        let own_steps = more_steps(tokens, chunk) * (step + part);
        let attention = others * alone.term(2).0 * tokens * tokens / 2.0;
        let value =
            burst.firsts.last()? - alone.at(terms(burst.tokens)) - own_steps - steps * step - attention;
        (value > 0.0).then_some(FitPoint { terms: [tokens * others, others + cuts, 0.0], value })
    };
    fit(&bursts.iter().filter_map(point).collect::<Vec<_>>())
}

/// How many steps these first tokens are of: those of one step come at once.
fn ends(firsts: &[f64], step: f64) -> f64 {
    let is_later =
        |pair: &&[f64]| pair.last().zip(pair.first()).is_some_and(|(later, one)| later - one > step / 2.0);
    1.0 + f64::from(u32::try_from(firsts.windows(2).filter(is_later).count()).unwrap_or(u32::MAX))
}

/// From the gaps of a stream while a prompt is processed beside it: each part is a gap, and the first one is
/// a chunk.
fn chunk_of(stalls: &[MeasuredStall], token: f64, attention: f64, part: f64) -> FoundChunk {
    let cut: Vec<(u32, u32, f64)> =
        stalls.iter().filter_map(|stall| cut(stall, token, attention, part)).collect();
    let Some(parts) = median(cut.iter().map(|(parts, ..)| f64::from(*parts))) else {
        return FoundChunk::Unknown;
    };
    let usual: Vec<_> = cut.iter().filter(|(own, ..)| (f64::from(*own) - parts).abs() < 0.5).collect();
    let Some((_, tokens, _)) = usual.first() else { return FoundChunk::Unknown };
    if parts < 2.0 {
        return FoundChunk::AtLeast(*tokens);
    }
    let Some(found) = median(usual.iter().map(|(.., chunk)| *chunk)) else { return FoundChunk::Unknown };
    let tokens = f64::from(*tokens);
    let found = found.clamp((tokens / parts).ceil(), (tokens / (parts - 1.0)).floor());
    let power = found.log2().round().exp2();
    // Engines have powers of two; 20 % is how far a gap may be off.
    let chunk = if (found / power - 1.0).abs() < 0.2 { power } else { found.round() };
    FoundChunk::Found(whole(chunk), found)
}

/// In how many parts the prompt was, how long it was, and the tokens of the first part.
fn cut(stall: &MeasuredStall, token: f64, attention: f64, part: f64) -> Option<(u32, u32, f64)> {
    let longer = |gap: &&f64| **gap > LONGER * stall.usual_gap + part;
    let work: Vec<f64> =
        stall.gaps.iter().filter(longer).map(|gap| (gap - stall.usual_gap - part).max(0.0)).collect();
    let most = work.iter().copied().reduce(f64::max)?;
    let work: Vec<f64> = work.into_iter().filter(|work| *work >= LEAST_PART * most).collect();
    let share = work.first()? / work.iter().sum::<f64>();
    let tokens = f64::from(stall.tokens);
    // Of the tokens up to there; halves, since it grows with them.
    let of = |tokens: f64| tokens * token + tokens * tokens / 2.0 * attention;
    let (mut low, mut high) = (0.0, tokens);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if of(middle) < share * of(tokens) { low = middle } else { high = middle }
    }
    Some((u32::try_from(work.len()).ok()?, stall.tokens, low))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
fn whole(number: f64) -> u32 {
    number as u32
}
