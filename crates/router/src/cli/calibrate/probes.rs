//! What is sent, and what is measured of it.

use std::time::{Duration, Instant};

use crate::cli::calibrate::bench::{Bench, Probed};
use sgl_simulate::calibration::{
    MeasuredBurst, MeasuredDecode, MeasuredPrompt, MeasuredRepeat, MeasuredStall, Measurements,
};
use sgl_tools::load::{ProbeAnswer, ProbeError};

/// Tokens of a short prompt.
const SHORT: u32 = 48;
/// Tokens of a stream.
const STREAM: u32 = 48;
/// Steps of several streams that are looked at, at least.
const LEAST_STEPS: usize = 6;
/// Tokens that a stream has before a long prompt comes.
const BEFORE: f64 = 16.0;

/// One round of everything, with prompts up to `longest` tokens and up to `batch` requests at a time. Ends
/// early where the limits do.
///
/// # Errors
///
/// [`ProbeError`] of the first request that failed.
pub(crate) async fn round(
    bench: &mut Bench,
    longest: u32,
    batch: u32,
    measured: &mut Measurements,
) -> Result<(), ProbeError> {
    alone(bench, longest, measured).await?;
    for sequences in (0..=batch.ilog2()).map(|power| 1 << power) {
        for tokens in [SHORT, longest / 4] {
            streams(bench, sequences, tokens, measured).await?;
        }
    }
    stall(bench, longest, measured).await?;
    for tokens in [SHORT, longest / 4] {
        burst(bench, batch, tokens, measured).await?;
    }
    repeat(bench, longest, measured).await
}

/// Prompts of several lengths, one after the other.
async fn alone(bench: &mut Bench, longest: u32, measured: &mut Measurements) -> Result<(), ProbeError> {
    let lengths = [SHORT, longest / 8, longest / 4, longest / 2, longest / 4 * 3, longest];
    for tokens in lengths.into_iter().filter(|tokens| *tokens >= SHORT) {
        if bench.may_ask(1) {
            let probed = bench.ask(tokens, 1).await?;
            let seconds = probed.answer.first_text().as_secs_f64();
            measured.prompts.push(MeasuredPrompt { tokens: probed.tokens, seconds });
        }
    }
    Ok(())
}

/// Streams that begin at once: the time in which all of them decode.
async fn streams(
    bench: &mut Bench,
    sequences: u32,
    tokens: u32,
    measured: &mut Measurements,
) -> Result<(), ProbeError> {
    if bench.may_ask(sequences) {
        let questions = vec![(Duration::ZERO, tokens, STREAM); sequences as usize];
        let answers = bench.ask_all(&questions).await?;
        measured.decodes.extend(decoded(&answers));
    }
    Ok(())
}

/// Of the time from when the last of them has its first token to the end of the first one.
fn decoded(answers: &[Probed]) -> Option<MeasuredDecode> {
    let begin = answers.iter().filter_map(|probed| probed.answer.texts.first()).max()?;
    let end = answers.iter().filter_map(|probed| probed.answer.texts.last()).min()?;
    let (mut seconds, mut context) = (0.0, 0.0);
    for probed in answers {
        let texts = &probed.answer.texts;
        let within: Vec<&Instant> = texts.iter().filter(|at| *begin <= **at && **at <= *end).collect();
        if within.len() < LEAST_STEPS {
            return None;
        }
        let span = within.last()?.saturating_duration_since(**within.first()?);
        // Not each token is a text: some are parts of a character.
        let texts_per_token = count(texts.len()) / f64::from(probed.answer.tokens.max(1));
        let steps = count(within.len() - 1) / texts_per_token.min(1.0);
        seconds += span.as_secs_f64() / steps;
        let before = texts.iter().filter(|at| **at < *begin).count();
        context += f64::from(probed.tokens) + count(before) + steps / 2.0;
    }
    let sequences = u32::try_from(answers.len()).ok()?;
    Some(MeasuredDecode { sequences, context, seconds: seconds / f64::from(sequences) })
}

/// A long prompt beside a stream.
async fn stall(bench: &mut Bench, longest: u32, measured: &mut Measurements) -> Result<(), ProbeError> {
    if !bench.may_ask(2) {
        return Ok(());
    }
    // What is known by now of a short prompt and of steps.
    let first = measured.prompts.iter().map(|prompt| prompt.seconds).fold(f64::INFINITY, f64::min);
    let step = measured.decodes.iter().map(|decode| decode.seconds).fold(f64::INFINITY, f64::min);
    let pause = first + BEFORE * step;
    if pause.is_finite() {
        let pause = Duration::from_secs_f64(pause);
        let answers = bench.ask_all(&[(Duration::ZERO, SHORT, 2 * STREAM), (pause, longest, 1)]).await?;
        if let [stream, prompt] = answers.as_slice() {
            measured.stalls.extend(stalled(&stream.answer, prompt));
        }
    }
    Ok(())
}

fn stalled(stream: &ProbeAnswer, prompt: &Probed) -> Option<MeasuredStall> {
    let (sent, first) = (prompt.answer.sent, *prompt.answer.texts.first()?);
    let gaps = || {
        stream
            .texts
            .windows(2)
            .filter_map(|pair| Some((*pair.last()?, pair.last()?.saturating_duration_since(*pair.first()?))))
    };
    let mut usual: Vec<f64> =
        gaps().filter(|(end, _)| *end < sent).map(|(_, gap)| gap.as_secs_f64()).collect();
    usual.sort_by(f64::total_cmp);
    let usual_gap = *usual.get(usual.len() / 2)?;
    // The prompt's first token and the stream's next one are of the same step.
    let last = first + Duration::from_secs_f64(usual_gap);
    let during = gaps().filter(|(end, _)| sent <= *end && *end <= last);
    let gaps = during.map(|(_, gap)| gap.as_secs_f64()).collect();
    // Else it came when the stream had ended.
    let went_on = stream.texts.last()? > &last;
    went_on.then_some(MeasuredStall { tokens: prompt.tokens, usual_gap, gaps })
}

/// Prompts that come at once.
async fn burst(
    bench: &mut Bench,
    prompts: u32,
    tokens: u32,
    measured: &mut Measurements,
) -> Result<(), ProbeError> {
    if bench.may_ask(prompts) {
        let answers = bench.ask_all(&vec![(Duration::ZERO, tokens, 1); prompts as usize]).await?;
        let Some(sent) = answers.iter().map(|probed| probed.answer.sent).min() else { return Ok(()) };
        let first = |probed: &Probed| Some(probed.answer.texts.first()?.saturating_duration_since(sent));
        let mut firsts: Vec<f64> =
            answers.iter().filter_map(first).map(|first| first.as_secs_f64()).collect();
        firsts.sort_by(f64::total_cmp);
        let tokens = answers.iter().map(|probed| u64::from(probed.tokens)).sum::<u64>() / u64::from(prompts);
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        measured.bursts.push(MeasuredBurst { tokens, firsts });
    }
    Ok(())
}

/// A prompt that is sent twice.
async fn repeat(bench: &mut Bench, longest: u32, measured: &mut Measurements) -> Result<(), ProbeError> {
    if bench.may_ask(2) {
        let text = bench.text(longest);
        let first = bench.ask_text(text.clone(), 1).await?.answer;
        let second = bench.ask_text(text, 1).await?.answer;
        measured.repeats.push(MeasuredRepeat {
            first: first.first_text().as_secs_f64(),
            second: second.first_text().as_secs_f64(),
            cached: second.cached_tokens,
        });
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(begin: Instant, sent: u64, texts: &[u64]) -> ProbeAnswer {
        let at = |ms: &u64| begin + Duration::from_millis(*ms);
        ProbeAnswer {
            sent: at(&sent),
            texts: texts.iter().map(at).collect(),
            prompt_tokens: None,
            tokens: u32::try_from(texts.len()).unwrap(),
            cached_tokens: None,
        }
    }

    #[test]
    fn steps_count_from_when_all_streams_decode_until_one_ends() {
        let begin = Instant::now();
        let one: Vec<u64> = (0..20).map(|step| 100 + 10 * step).collect();
        let other: Vec<u64> = (0..20).map(|step| 150 + 10 * step).collect();
        let probed = |texts: &[u64]| Probed { tokens: 100, answer: answer(begin, 0, texts) };
        let decoded = decoded(&[probed(&one), probed(&other)]).unwrap();
        assert_eq!(decoded.sequences, 2);
        assert!((decoded.seconds - 0.010).abs() < 1e-9, "{decoded:?}");
        // The first has 5 tokens when the second begins, and both get 14 more.
        assert!((decoded.context - (105.0 + 7.0 + 100.0 + 7.0)).abs() < 1e-9, "{decoded:?}");
        assert_eq!(super::decoded(&[probed(&one), probed(&[280, 290])]), None, "too few");
        let mut merged = probed(&one);
        // Half of the tokens had no text.
        merged.answer.tokens = 40;
        assert!((super::decoded(&[merged]).unwrap().seconds - 0.005).abs() < 1e-9);
    }

    #[test]
    fn gaps_beside_a_prompt_are_those_from_when_it_was_sent_to_its_first_token() {
        let begin = Instant::now();
        let stream = answer(begin, 0, &[10, 14, 18, 22, 26, 30, 55, 75, 79, 83]);
        let prompt = Probed { tokens: 3000, answer: answer(begin, 27, &[75]) };
        let stall = stalled(&stream, &prompt).unwrap();
        let ms: Vec<f64> = stall.gaps.iter().map(|gap| (gap * 1e3).round()).collect();
        assert_eq!((ms, (stall.usual_gap * 1e3).round()), (vec![4.0, 25.0, 20.0, 4.0], 4.0));
        let late = Probed { tokens: 3000, answer: answer(begin, 70, &[90]) };
        assert_eq!(stalled(&stream, &late), None);
    }
}
