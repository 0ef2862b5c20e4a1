//! Token counts that a worker gives with its answer.
//!
//! Engines say them at the end: as a member of the JSON, or in the last event of a stream that has data.
//!
//! - OpenAI's endpoints: `"usage": {"prompt_tokens": …, "completion_tokens": …,
//!   "prompt_tokens_details": {"cached_tokens": …}}`. Streams have it if the client asked for it
//!   (`stream_options`); where each event has it (vLLM's continuous usage) the last one counts.
//! - SGLang's `/generate`: `"meta_info": {"prompt_tokens": …, "completion_tokens": …,
//!   "cached_tokens": …}`.
//! - `/v1/responses`: `"usage": {"input_tokens": …, "output_tokens": …, "input_tokens_details":
//!   {"cached_tokens": …}}`; of a stream in the response that the last event tells of.
//! - Anthropic's `/v1/messages`: `"usage": {"input_tokens": …, "output_tokens": …}`, beside which
//!   `cache_read_input_tokens` and `cache_creation_input_tokens` are counted; of a stream in the last event
//!   but `message_stop`.
//!
//! The end of the body is kept as it passes by, and read from behind: there is never a whole body here,
//! and most of one is text that a model generated. Whatever is odd counts as not known, since a policy
//! that learns from a wrong number is worse off than one that learns nothing.

use memchr::memmem;
use serde::de::IgnoredAny;

use crate::proxy::json_end::{Begins, FoundMember, member, object, walk};
use crate::proxy::last_event::last_event;
use crate::proxy::token_usage::TokenUsage;

/// How much of the end is read.
const TAIL_BYTES: usize = 16 << 10;

/// What a body is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// One JSON value.
    Json,
    /// Server-sent events with JSON as data.
    Events,
}

/// The end of a body that passes by.
#[derive(Debug)]
pub struct UsageTail {
    form: BodyForm,
    kept: Vec<u8>,
    /// Whether the kept part has lost its beginning.
    is_cut: bool,
}

/// The members of an object that matter, as what follows their colons.
#[derive(Debug, Default)]
struct Members<'t> {
    usage: FoundMember<'t>,
    meta_info: FoundMember<'t>,
    index: FoundMember<'t>,
    /// Of an event about a response: the response, and its usage.
    response: FoundMember<'t>,
    response_usage: FoundMember<'t>,
    kind: FoundMember<'t>,
}

impl UsageTail {
    /// The end of a body of which nothing has come.
    pub fn new(form: BodyForm) -> Self {
        Self { form, kept: Vec::new(), is_cut: false }
    }

    /// Keeps what the next piece adds to the end.
    pub fn look(&mut self, piece: &[u8]) {
        let new = piece.get(piece.len().saturating_sub(TAIL_BYTES)..).unwrap_or(piece);
        self.is_cut |= new.len() < piece.len();
        // Moved once in a while, not with each piece.
        if self.kept.len() + new.len() > 2 * TAIL_BYTES {
            let surplus = (self.kept.len() + new.len()).saturating_sub(TAIL_BYTES).min(self.kept.len());
            self.kept.drain(..surplus);
            self.is_cut |= surplus > 0;
        }
        self.kept.extend_from_slice(new);
    }

    /// What the body said. To be asked once all of it came: the counts within a stream are not final.
    pub fn read(&self) -> TokenUsage {
        let surplus = self.kept.len().saturating_sub(TAIL_BYTES);
        let tail = self.kept.get(surplus..).unwrap_or_default();
        let is_cut = self.is_cut || surplus > 0;
        match self.form {
            BodyForm::Json => in_object(tail, is_cut),
            BodyForm::Events => last_event(tail, is_cut, begin_of, in_object),
        }
        .unwrap_or_default()
    }
}

/// The counts in the object that this is, or the end of.
pub(crate) fn in_object(text: &[u8], is_cut: bool) -> Option<TokenUsage> {
    let text = text.trim_ascii();
    // Most have none, and are long.
    memmem::rfind(text, b"_tokens\"")?;
    let mut members = Members::default();
    match begins(text, &mut members) {
        Begins::Here if !is_cut => drop(serde_json::from_slice::<IgnoredAny>(text).ok()?),
        Begins::Before if is_cut => {}
        _ => return None,
    }
    match members {
        Members { usage: FoundMember::Once(usage), meta_info: FoundMember::Absent, .. } => {
            let usage = object(usage)?;
            let details = member(usage, b"prompt_tokens_details");
            let details = details.or_else(|| member(usage, b"input_tokens_details")).and_then(object);
            Some(TokenUsage::of(usage, details))
        }
        // Of several prompts or choices, each event tells of one only.
        Members {
            meta_info: FoundMember::Once(meta_info),
            usage: FoundMember::Absent,
            index: FoundMember::Absent,
            ..
        } => {
            let meta_info = object(meta_info)?;
            Some(TokenUsage::of(meta_info, Some(meta_info)))
        }
        Members {
            usage: FoundMember::Absent,
            meta_info: FoundMember::Absent,
            response,
            response_usage: FoundMember::Once(usage),
            kind: FoundMember::Once(kind),
            ..
        } if kind.trim_ascii_start().starts_with(b"\"response.") => {
            let usage = match response {
                FoundMember::Once(response) => member(object(response)?, b"usage")?,
                // Its beginning is not here.
                FoundMember::Absent if is_cut => usage,
                _ => return None,
            };
            let usage = object(usage)?;
            Some(TokenUsage::of(usage, member(usage, b"input_tokens_details").and_then(object)))
        }
        _ => None,
    }
}

fn begins<'t>(text: &'t [u8], members: &mut Members<'t>) -> Begins {
    walk(text, |depth, name, rest| match (depth, name) {
        (1, b"usage") => members.usage.add(rest),
        (1, b"meta_info") => members.meta_info.add(rest),
        (1, b"index") => members.index.add(rest),
        (1, b"response") => members.response.add(rest),
        (1, b"type") => members.kind.add(rest),
        (2, b"usage") => members.response_usage.add(rest),
        _ => {}
    })
}

/// What the object says that this is, or the end of, and where that begins.
fn begin_of(text: &[u8]) -> Begins {
    begins(text, &mut Members::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: TokenUsage =
        TokenUsage { prompt_tokens: None, completion_tokens: None, cached_tokens: None };

    fn usage(prompt: u32, completion: u32, cached: Option<u32>) -> TokenUsage {
        TokenUsage { prompt_tokens: Some(prompt), completion_tokens: Some(completion), cached_tokens: cached }
    }

    /// What a body says, which must not depend on how it is cut into pieces.
    fn read(form: BodyForm, body: &str) -> TokenUsage {
        let told = |size: usize| {
            let mut tail = UsageTail::new(form);
            body.as_bytes().chunks(size).for_each(|piece| tail.look(piece));
            tail.read()
        };
        let whole = told(body.len().max(1));
        let sizes = if body.len() < 2000 { vec![1, 2, 3, 5, 7, 16, 100] } else { vec![] };
        for size in sizes.into_iter().chain([1000, 1369, 4096, TAIL_BYTES, TAIL_BYTES + 1, 65_536]) {
            assert_eq!(told(size), whole, "in pieces of {size}");
        }
        whole
    }

    fn json(body: &str) -> TokenUsage {
        read(BodyForm::Json, body)
    }

    fn events(body: &str) -> TokenUsage {
        read(BodyForm::Events, body)
    }

    /// An answer whose text has this length, with these members behind it.
    fn answer(length: usize, members: &str) -> String {
        format!(
            r#"{{"id": "1", "choices": [{{"message": {{"content": "{}"}}}}], {members}}}"#,
            "x".repeat(length)
        )
    }

    #[test]
    fn each_engines_json_is_understood_short_or_long() {
        for length in [0, TAIL_BYTES - 300, TAIL_BYTES - 100, TAIL_BYTES, 1 << 20] {
            let vllm = r#""service_tier": null, "usage": {"prompt_tokens": 12, "total_tokens": 15, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}, "prompt_logprobs": null, "kv_transfer_params": null"#;
            assert_eq!(json(&answer(length, vllm)), usage(12, 3, Some(8)), "{length}");
            let sglang = r#""usage": {"prompt_tokens": 12, "total_tokens": 15, "completion_tokens": 3, "prompt_tokens_details": null, "reasoning_tokens": 0}, "metadata": {"weight_version": "default"}"#;
            assert_eq!(json(&answer(length, sglang)), usage(12, 3, None), "{length}");
            let llama = r#""object": "chat.completion", "usage": {"completion_tokens": 3, "prompt_tokens": 12, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 0}}, "id": "x", "timings": {"prompt_n": 12}"#;
            assert_eq!(json(&answer(length, llama)), usage(12, 3, Some(0)), "{length}");
            let generate = r#""meta_info": {"id": "1", "finish_reason": {"type": "stop"}, "prompt_tokens": 12, "completion_tokens": 3, "cached_tokens": 7, "e2e_latency": 0.5}"#;
            assert_eq!(json(&answer(length, generate)), usage(12, 3, Some(7)), "{length}");
        }
        let embedding =
            r#"{"data": [{"embedding": [0.5, -1e3]}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}"#;
        assert_eq!(json(embedding), TokenUsage { prompt_tokens: Some(5), ..NOTHING });
    }

    #[test]
    fn responses_and_messages_count_input_and_output() {
        let details = r#""usage": {"input_tokens": 12, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 8}}"#;
        let anthropic = r#""usage": {"input_tokens": 2, "output_tokens": 3, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 2}"#;
        for length in [0, TAIL_BYTES, 1 << 20] {
            assert_eq!(json(&answer(length, details)), usage(12, 3, Some(8)), "{length}");
            assert_eq!(json(&answer(length, anthropic)), usage(12, 3, Some(8)), "{length}");
            let text = "x".repeat(length);
            let response = format!(
                "data: {{\"response\": {{\"id\": \"r\", \"output\": [{{\"usage\": {{}}, \"text\": \"{text}\"}}], {details}, \
                 \"user\": null}}, \"sequence_number\": 9, \"type\": \"response.completed\"}}\n\n"
            );
            assert_eq!(events(&response), usage(12, 3, Some(8)), "{length}");
            assert_eq!(events(&response.replace("response.completed", "other")), NOTHING, "{length}");
        }
        let delta = format!("event: message_delta\ndata: {{\"type\": \"message_delta\", {anthropic}}}\n\n");
        for stop in [
            "data: {\"type\":\"message_stop\"}\n\n",
            "data: {\"type\": \"message_stop\"}\n\ndata: [DONE]\n\n",
        ] {
            assert_eq!(events(&format!("{delta}event: message_stop\n{stop}")), usage(12, 3, Some(8)));
        }
    }

    #[test]
    fn last_event_of_a_stream_counts() {
        let chunk =
            |usage: &str| format!("data: {{\"choices\": [{{\"delta\": {{}}}}], \"usage\": {usage}}}\n\n");
        let counts = |n: u32| format!(r#"{{"prompt_tokens": 12, "completion_tokens": {n}}}"#);
        let done = "data: [DONE]\n\n";
        let last = format!("{}{}{done}", chunk("null"), chunk(&counts(3)));
        assert_eq!(events(&last), usage(12, 3, None));
        let continuous = format!("{}{}{}{done}", chunk(&counts(1)), chunk(&counts(2)), chunk(&counts(3)));
        assert_eq!(events(&continuous), usage(12, 3, None));
        let without = format!("{}{}{done}", chunk(&counts(1)), chunk("null"));
        assert_eq!(events(&without), NOTHING, "counts on the way are not final");
        for body in [
            last.replace('\n', "\r\n"),
            last.replace(": {\"ch", ":{\"ch"),
            format!("{last}\n: bye\n\n"),
            last.replace("\n\n", "\n"),
            last.replace("data: [DONE]", "event: done\nid: 7\ndata: [DONE]"),
            last.trim_end().to_owned(),
            last.replace(done, ""),
        ] {
            assert_eq!(events(&body), usage(12, 3, None), "{body}");
        }
    }

    #[test]
    fn events_of_generate_repeat_their_text_and_are_understood_by_their_end() {
        let event = |length: usize, n: u32, more: &str| {
            format!(
                "data: {{\"text\": \"{}\", \"meta_info\": {{\"prompt_tokens\": 12, \"completion_tokens\": {n}, \
                 \"cached_tokens\": 4}}{more}}}\n\n",
                "y \\\" ".repeat(length / 5)
            )
        };
        for length in [0, TAIL_BYTES - 120, TAIL_BYTES, 1 << 20] {
            let body = format!("{}{}data: [DONE]\n\n", event(length, 1, ""), event(length, 2, ""));
            assert_eq!(events(&body), usage(12, 2, Some(4)), "{length}");
        }
        let of_several = event(10, 2, r#", "index": 1"#);
        assert_eq!(events(&of_several), NOTHING, "it counts one of several prompts");
        assert_eq!(json(&format!("[{}]", &event(10, 2, "")[6..].trim())), NOTHING);
    }

    #[test]
    fn data_in_several_lines_is_joined() {
        let body = "data: {\"choices\": [],\ndata:  \"usage\":\ndata: {\"prompt_tokens\": 1,\n: x\ndata: \"completion_tokens\": 2}\ndata: }\n\ndata: [DONE]\n\n";
        assert_eq!(events(body), usage(1, 2, None));
        let torn = "data: {\"choices\": [],\n\ndata: \"usage\": {\"prompt_tokens\": 1}}\n\n";
        assert_eq!(events(torn), NOTHING);
        let endless = format!("{}data: \"_tokens\": 1}}\n\n", "data: 1,\n".repeat(3000));
        assert_eq!(events(&endless), NOTHING);
    }

    #[test]
    fn odd_numbers_are_not_known() {
        for odd in [
            "-1",
            "1.0",
            "1e2",
            "\"12\"",
            "4294967296",
            "99999999999999999999",
            "1e999",
            "null",
            "[1]",
            "{}",
            "true",
        ] {
            let body = |prompt: &str, completion: &str, cached: &str| {
                answer(
                    3,
                    &format!(
                        r#""usage": {{"prompt_tokens": {prompt}, "completion_tokens": {completion}, "prompt_tokens_details": {{"cached_tokens": {cached}}}}}"#
                    ),
                )
            };
            assert_eq!(
                json(&body("12", odd, "8")),
                TokenUsage { completion_tokens: None, ..usage(12, 3, Some(8)) },
                "{odd}"
            );
            assert_eq!(json(&body("12", "3", odd)), usage(12, 3, None), "{odd}");
            assert_eq!(
                json(&body(odd, "3", "8")),
                TokenUsage { completion_tokens: Some(3), ..NOTHING },
                "{odd}"
            );
        }
        let largest = answer(3, r#""usage": {"prompt_tokens": 4294967295, "completion_tokens": 0}"#);
        assert_eq!(json(&largest), usage(u32::MAX, 0, None));
        let more_cached =
            answer(3, r#""meta_info": {"prompt_tokens": 4, "completion_tokens": 1, "cached_tokens": 5}"#);
        assert_eq!(json(&more_cached), TokenUsage { completion_tokens: Some(1), ..NOTHING });
    }

    #[test]
    fn what_is_no_usage_of_the_answer_is_not_taken_for_it() {
        let fake = r#"\"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": 1}}"#;
        let real = r#""usage": {"prompt_tokens": 12, "completion_tokens": 3}"#;
        let counts = r#"{"prompt_tokens": 12, "completion_tokens": 3}"#;
        for body in [
            format!(r#"{{"text": "{fake}"}}"#),
            format!(r#"{{"text": "x\\"{{{real}}}"#),
            format!(r#"{{"choices": [{{{real}}}]}}"#),
            format!(r#"{{"inner": {{{real}}}}}"#),
            format!(r#"{{{real}, {real}}}"#),
            format!(r#"{{{real}, "meta_info": {counts}}}"#),
            format!(r#"{{{real}}} {{{real}}}"#),
            format!(r#"{{{real}}} x"#),
            format!(r#"x {{{real}}}"#),
            format!(r#"[{{{real}}}]"#),
            format!(r#"{{{real}"#),
            format!(r#"{{"usage": [{counts}]}}"#),
            format!(r#"{{"usage": "{counts}"}}"#),
            r#"{"usage": null}"#.to_owned(),
            r#"{"usage": {"prompt_tokens": 1, "prompt_tokens": 12}}"#.to_owned(),
            format!(r#"{{"usage": {{"deep": {counts}}}}}"#),
            String::new(),
            "}".to_owned(),
            "\"_tokens\"}".to_owned(),
        ] {
            assert_eq!(json(&body), NOTHING, "{body}");
            assert_eq!(events(&format!("data: {body}\n\n")), NOTHING, "{body}");
        }
        let both = format!(r#"{{"text": "{fake}\\", {real}, "more": "{fake}"}}"#);
        assert_eq!(json(&both), usage(12, 3, None));
    }

    #[test]
    fn name_that_a_cut_leaves_over_is_no_name() {
        let text = r#"usage": {"prompt_tokens": 12}, "x": ""#;
        for (before, is_usage) in
            [(r#""not the "#, false), (r#""\""#, false), (r#""\\\""#, false), ("\"", true)]
        {
            for left_over in 0..=before.len() {
                let rest = "z".repeat(TAIL_BYTES - left_over - text.len() - 2);
                let body = format!("{{\"a\": \"{}\", {before}{text}{rest}\"}}", "y".repeat(100));
                assert!(json(&body).prompt_tokens.is_none(), "{before} {left_over}");
            }
            let rest = "z".repeat(TAIL_BYTES - 20 - text.len() - 2);
            let body = format!("{{\"a\": \"{}\", {before}{text}{rest}\"}}", "y".repeat(100));
            assert_eq!(json(&body).prompt_tokens.is_some(), is_usage, "{before}");
        }
    }

    #[test]
    fn no_more_than_the_end_is_kept() {
        let mut tail = UsageTail::new(BodyForm::Json);
        for size in [1, 1000, 65_536, 16_000, 3 << 20, 16_384] {
            (0..20).for_each(|_| tail.look(&vec![b' '; size]));
            assert!(tail.kept.len() <= 2 * TAIL_BYTES);
        }
        tail.look(answer(0, r#""usage": {"prompt_tokens": 12}"#).as_bytes());
        assert_eq!(tail.read(), NOTHING, "what came before may have been anything");
    }
}
