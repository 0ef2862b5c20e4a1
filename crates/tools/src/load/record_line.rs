//! Requests from the decision records of a router.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use crate::load::trace_entry::Entry;
use sglang_router_rs::types::SkippedLines;

/// Tokens of an answer, where no record says how many any had.
const OUTPUT_TOKENS: u32 = 128;

/// A line of a record file, as far as it matters here.
#[derive(Deserialize)]
struct RecordLine {
    time_unix_ms: f64,
    #[serde(default)]
    decisions: Vec<RecordedDecision>,
    #[serde(default)]
    outcome: RecordedOutcome,
}

#[derive(Deserialize)]
struct RecordedDecision {
    #[serde(default)]
    request: RecordedFacts,
}

#[derive(Default, Deserialize)]
struct RecordedFacts {
    prompt_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_exact: Option<bool>,
    max_tokens: Option<u64>,
    model: Option<Box<str>>,
    session: Option<u64>,
    prefix_blocks: Option<u32>,
    prefix_block_tokens: Option<f32>,
    #[serde(default)]
    prefix_hashes: Vec<u64>,
}

#[derive(Default, Deserialize)]
struct RecordedOutcome {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

/// A recorded request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedRequest {
    ms: f64,
    /// And whether it was counted.
    prompt: Option<(u32, bool)>,
    output: Option<u32>,
    /// Tokens that it might have had.
    most: Option<u64>,
    model: Option<Box<str>>,
    session: Option<u64>,
    /// Hashes of the prompt's blocks, how many more there were, and how many tokens a block was believed to have.
    hashes: Vec<u64>,
    unrecorded: usize,
    block_tokens: Option<f32>,
}

/// Prompts of which only the beginning was recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutPrefixes {
    /// How many.
    pub prompts: u64,
    /// Blocks that were recorded of each.
    pub recorded: usize,
    /// The share of all blocks of all prompts that was not.
    pub lost: f64,
}

/// What a trace does not say, and what is assumed instead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceGaps {
    /// Lines of a record file that are no records. They are left out.
    pub skipped: SkippedLines,
    /// Lines that do not say how long the prompt was. They are left out.
    pub without_prompt: u64,
    /// Prompts whose tokens were estimated.
    pub estimated_prompts: u64,
    /// Answers whose length nobody says, and the tokens that each of them gets at most.
    pub without_output: Option<(u64, u32)>,
    /// Whether nothing says which prompts begin alike.
    pub without_prefixes: bool,
    /// Prompts of which only the beginning was recorded.
    pub cut_prefixes: Option<CutPrefixes>,
}

impl TraceGaps {
    /// A sentence for each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.skipped.note().into_iter().collect();
        if self.without_prompt > 0 {
            notes.push(format!(
                "{} requests are left out: nothing says how long their prompts were (only policies that ask \
                 for prompt_tokens, and engines that tell their usage, have that recorded)",
                self.without_prompt
            ));
        }
        if self.estimated_prompts > 0 {
            notes.push(format!(
                "{} prompts have the length that the router estimated",
                self.estimated_prompts
            ));
        }
        if let Some((count, tokens)) = self.without_output {
            notes.push(format!(
                "{count} answers have {tokens} tokens, or as many as they might have had: nothing says how many"
            ));
        }
        if self.without_prefixes {
            notes.push(
                "nothing says which prompts begin alike: none does (records say it where the router has \
                 --record-inputs all)"
                    .to_owned(),
            );
        }
        if let Some(CutPrefixes { prompts, recorded, lost }) = self.cut_prefixes {
            notes.push(format!(
                "of {prompts} prompts only the beginning is known, as their records have it ({recorded} blocks): \
                 {:.1} % of all blocks of prompts are like no others here, and hits may be fewer than they were",
                lost * 100.0
            ));
        }
        notes
    }
}

/// True for a line of a record file.
pub(crate) fn is_record(text: &str) -> bool {
    text.starts_with('{') && text.contains("\"time_unix_ms\"")
}

/// Reads a line of a record file.
pub(crate) fn record_line(text: &str) -> Result<RecordedRequest, String> {
    let line: RecordLine = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        message.split(" at line ").next().unwrap_or_default().to_owned()
    })?;
    let facts = line.decisions.into_iter().next().map(|decision| decision.request).unwrap_or_default();
    let block_tokens = facts.prefix_block_tokens.filter(|tokens| (0.25..=65_536.0).contains(tokens));
    let counted = line.outcome.prompt_tokens.map(|tokens| (tokens, true));
    let known = facts.prompt_tokens.map(|tokens| (tokens, facts.prompt_tokens_exact == Some(true)));
    Ok(RecordedRequest {
        ms: line.time_unix_ms,
        prompt: counted.or(known),
        output: line.outcome.completion_tokens.filter(|tokens| *tokens > 0),
        most: facts.max_tokens,
        model: facts.model,
        session: facts.session,
        unrecorded: (facts.prefix_blocks.unwrap_or_default() as usize)
            .saturating_sub(facts.prefix_hashes.len()),
        hashes: facts.prefix_hashes,
        block_tokens,
    })
}

/// The requests with their times in milliseconds, and what they do not say.
pub(crate) fn entries_of(records: Vec<RecordedRequest>) -> (Vec<(f64, Entry)>, TraceGaps) {
    let sizes = block_sizes(&records);
    let mut known: Vec<u32> = records.iter().filter_map(|record| record.output).collect();
    known.sort_unstable();
    let usual = known.get(known.len() / 2).copied().unwrap_or(OUTPUT_TOKENS);
    let mut gaps = TraceGaps { without_prefixes: true, ..TraceGaps::default() };
    gaps.cut_prefixes = cut_prefixes(&records);
    let mut guessed = 0;
    let mut entries = Vec::new();
    for record in records {
        let Some((input_tokens, is_exact)) = record.prompt else {
            gaps.without_prompt += 1;
            continue;
        };
        gaps.estimated_prompts += u64::from(!is_exact);
        guessed += u64::from(record.output.is_none());
        let most = record.most.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX);
        let output_tokens = record.output.unwrap_or(usual.min(most)).max(1);
        let block_tokens = sizes.get(&record.model).copied().filter(|_| record.block_tokens.is_some());
        let entry = Entry {
            at: Duration::ZERO,
            input_tokens,
            output_tokens,
            blocks: if block_tokens.is_some() { record.hashes } else { Vec::new() },
            block_tokens,
            session: record.session.map(|number| number.to_string().into()),
            delay: None,
            max_tokens: record.most,
        };
        entries.push((record.ms, entry));
    }
    gaps.without_output = (guessed > 0).then_some((guessed, usual));
    (entries, gaps)
}

/// What was not recorded of prompts whose beginnings were.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn cut_prefixes(records: &[RecordedRequest]) -> Option<CutPrefixes> {
    let told = records.iter().filter(|record| !record.hashes.is_empty());
    let all: usize = told.clone().map(|record| record.hashes.len() + record.unrecorded).sum();
    let cut: Vec<&RecordedRequest> = told.filter(|record| record.unrecorded > 0).collect();
    let recorded = cut.iter().map(|record| record.hashes.len()).max()?;
    let missing: usize = cut.iter().map(|record| record.unrecorded).sum();
    Some(CutPrefixes { prompts: cut.len() as u64, recorded, lost: missing as f64 / all as f64 })
}

/// Tokens of a block, for each model. It is learnt while a router runs, so records tell of several: the middle
/// one stands for all, that equal blocks stay at equal places.
fn block_sizes(records: &[RecordedRequest]) -> HashMap<Option<Box<str>>, f32> {
    let mut told: HashMap<Option<Box<str>>, Vec<f32>> = HashMap::new();
    for record in records {
        if let Some(tokens) = record.block_tokens.filter(|_| !record.hashes.is_empty()) {
            told.entry(record.model.clone()).or_default().push(tokens);
        }
    }
    let middle = |mut all: Vec<f32>| {
        all.sort_unstable_by(f32::total_cmp);
        all.get(all.len() / 2).copied()
    };
    told.into_iter().filter_map(|(model, all)| Some((model, middle(all)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_requests_and_what_they_do_not_say_is_told() {
        let lines = [
            r#"{"request_id":"a","time_unix_ms":5000,"decisions":[{"request":{"prompt_tokens":90}}],
               "outcome":{"prompt_tokens":100,"completion_tokens":7}}"#,
            r#"{"time_unix_ms":6000,"decisions":[{"request":{"prompt_tokens":50,"prompt_tokens_exact":true}}],
               "outcome":{"completion_tokens":9}}"#,
            r#"{"time_unix_ms":7000,"decisions":[{"request":{"prompt_tokens":60,"max_tokens":4}}],"outcome":{}}"#,
            r#"{"time_unix_ms":8000,"decisions":[],"outcome":{}}"#,
        ];
        let records: Vec<_> = lines.iter().map(|line| record_line(line).unwrap()).collect();
        let (entries, gaps) = entries_of(records);
        let told: Vec<_> =
            entries.iter().map(|(ms, one)| (*ms, one.input_tokens, one.output_tokens)).collect();
        assert_eq!(told, [(5000.0, 100, 7), (6000.0, 50, 9), (7000.0, 60, 4)]);
        let expected = TraceGaps {
            without_prompt: 1,
            estimated_prompts: 1,
            without_output: Some((1, 9)),
            without_prefixes: true,
            ..TraceGaps::default()
        };
        assert_eq!(gaps, expected);
        assert_eq!(gaps.notes().len(), 4);
        assert!(gaps.notes()[2].starts_with("1 answers have 9 tokens"), "{:?}", gaps.notes());
        assert!(is_record(lines[3]) && !is_record(r#"{"timestamp":1}"#));
        assert!(record_line("{\"time_unix_ms\":\"x\"}").unwrap_err().starts_with("invalid type"));
    }

    #[test]
    fn prompts_of_which_the_record_has_the_beginning_are_told_of() {
        let line = |blocks: &str| {
            let facts =
                format!(r#""prompt_tokens":100,"prefix_block_tokens":16,"prefix_hashes":[1,2],{blocks}"#);
            record_line(&format!(r#"{{"time_unix_ms":1,"decisions":[{{"request":{{{facts}}}}}]}}"#)).unwrap()
        };
        let whole = || line(r#""prefix_blocks":2"#);
        assert_eq!(entries_of(vec![whole(), line(r#""stream":true"#)]).1.cut_prefixes, None);
        let gaps = entries_of(vec![whole(), line(r#""prefix_blocks":6"#)]).1;
        assert_eq!(gaps.cut_prefixes, Some(CutPrefixes { prompts: 1, recorded: 2, lost: 0.5 }));
        let told = gaps.notes().pop().unwrap();
        assert!(
            told.starts_with("of 1 prompts only the beginning is known, as their records have it (2 blocks)"),
            "{told}"
        );
        assert!(told.contains(": 50.0 % of all blocks of prompts"), "{told}");
    }

    #[test]
    fn prompts_begin_alike_as_far_as_their_recorded_hashes_do() {
        let line = |model: &str, tokens: f32, hashes: &str| {
            let facts = format!(
                r#""prompt_tokens":100,"session":7,"model":"{model}","prefix_block_tokens":{tokens},"prefix_hashes":[{hashes}]"#
            );
            record_line(&format!(r#"{{"time_unix_ms":1,"decisions":[{{"request":{{{facts}}}}}]}}"#)).unwrap()
        };
        // What a block has is learnt meanwhile; the text is the same all the time.
        let records = vec![
            line("a", 16.0, "1,2"),
            line("a", 13.0, "1,2,3"),
            line("a", 13.5, "1,2,3,18446744073709551615"),
            line("b", 20.0, "9"),
            line("b", -1.0, "9"),
            record_line(r#"{"time_unix_ms":1,"outcome":{"prompt_tokens":5}}"#).unwrap(),
        ];
        let (entries, _) = entries_of(records);
        let told: Vec<_> = entries.iter().map(|(_, one)| (one.block_tokens, one.blocks.len())).collect();
        let a = Some(13.5);
        assert_eq!(told, [(a, 2), (a, 3), (a, 4), (Some(20.0), 1), (None, 0), (None, 0)]);
        assert_eq!(entries[2].1.blocks, [1, 2, 3, u64::MAX]);
        assert_eq!((entries[0].1.session.as_deref(), entries[5].1.session.as_deref()), (Some("7"), None));
    }
}
