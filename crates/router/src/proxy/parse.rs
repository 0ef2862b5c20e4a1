//! What policies and the data plane want to know of a body. One pass, no tree of values; the body
//! itself goes to the worker as it came.

use std::borrow::Cow;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::proxy::body_values::{BodyValues, MAX_VALUE_BYTES};
use crate::proxy::dialogue::Dialogue;
use crate::proxy::facts::Facts;
use crate::proxy::json::{Broken, Json};
use crate::proxy::limit_fields::LimitFields;
use crate::proxy::multipart;
use crate::proxy::prompt::{MAX_TEXT_BYTES, Prompt, PromptLimits};
use crate::proxy::route::Route;
use crate::proxy::seed_fields::SeedFields;
use crate::proxy::wanted::Wanted;
use sglang_router_rs::types::PrefixHasher;

/// A thread that serves nobody reads and copies larger bodies; this much takes well below a millisecond.
pub(crate) const MAX_INLINE_BYTES: usize = 128 << 10;

/// From here on a body is huge: reading it may take a tenth of a second.
const HUGE_BYTES: usize = 8 << 20;

/// Large bodies that are read at a time. More would take the processor from those who serve.
static LARGE: Semaphore = Semaphore::const_new(2);

/// The same for huge ones, which wait for each other and hold up nobody else.
static HUGE: Semaphore = Semaphore::const_new(1);

/// Looks for what is wanted in a JSON object, or for the model in a form whose parts `boundary` delimits,
/// without keeping others from being served.
///
/// # Cancel safety
///
/// Nothing is lost.
pub(crate) async fn read<'a>(
    route: Route,
    body: &'a Bytes,
    boundary: Option<Box<[u8]>>,
    wanted: Wanted,
) -> Facts<'a> {
    if body.len() <= MAX_INLINE_BYTES {
        return facts_of(route, body, boundary.as_deref(), wanted);
    }
    let body = body.clone();
    // It is never closed.
    let permit = if body.len() < HUGE_BYTES { LARGE.acquire() } else { HUGE.acquire() }.await;
    let reading = tokio::task::spawn_blocking(move || {
        // Given back even if nobody waits for the facts any more, and not before.
        let _permit = permit;
        facts_of(route, &body, boundary.as_deref(), wanted).into_owned()
    });
    reading.await.unwrap_or_default()
}

fn facts_of<'a>(route: Route, body: &'a [u8], boundary: Option<&[u8]>, wanted: Wanted) -> Facts<'a> {
    let Some(boundary) = boundary else { return facts(route, body, wanted) };
    let model = if wanted.model { multipart::field(body, boundary, "model") } else { None };
    Facts { model: model.map(Cow::Borrowed), ..Facts::default() }
}

/// Looks for what is wanted in a JSON object. Of a field that occurs twice the last counts, as for
/// engines. What is wanted but has another form than the API says is passed over; where the
/// structure is broken, what was found before counts.
pub fn facts<'a>(route: Route, body: &'a [u8], wanted: Wanted) -> Facts<'a> {
    let mut json = Json::new(body);
    let hasher = wanted.prefix.map(|blocks| PrefixHasher::new(blocks, body.len()));
    let mut found = FoundFields {
        route,
        prompt: Prompt::keeping(PromptLimits::new(wanted.text, wanted.tokens), hasher),
        fields: BodyValues::new(wanted.fields.clone()),
        wanted,
        model: None,
        choices: None,
        limits: LimitFields::default(),
        stream: false,
        seed: SeedFields::default(),
        dialogue: Dialogue::default(),
        previous_response: None,
    };
    let whole = json.object(|key, json| found.field(key, json)).and_then(|()| json.end());
    let FoundFields { mut prompt, fields, model, choices, limits, stream, seed, dialogue, .. } = found;
    dialogue.end(&mut prompt);
    Facts {
        prefix_hashes: seed.hashes(&mut prompt, model.as_deref()),
        text: prompt.text.filter(|_| found.wanted.text),
        text_bytes: prompt.text_bytes,
        tokens: (!prompt.tokens.is_empty()).then_some(prompt.tokens),
        token_count: prompt.token_count,
        max_tokens: limits.max_tokens(),
        stream,
        fields,
        model,
        previous_response: found.previous_response,
        batch: prompt.batch.or(choices.filter(|choices| *choices > 1)),
        seed,
        broken: whole.err(),
    }
}

struct FoundFields<'a> {
    route: Route,
    wanted: Wanted,
    prompt: Prompt<'a>,
    fields: BodyValues<'a>,
    model: Option<Cow<'a, str>>,
    choices: Option<usize>,
    limits: LimitFields,
    stream: bool,
    seed: SeedFields<'a>,
    dialogue: Dialogue<'a>,
    previous_response: Option<Cow<'a, str>>,
}

impl<'a> FoundFields<'a> {
    fn field(&mut self, key: &str, json: &mut Json<'a>) -> Result<(), Broken> {
        self.fields.read(key, json);
        match (key, self.route) {
            ("model", _) if self.wanted.model => {
                self.model = text_of(json, MAX_TEXT_BYTES)?;
                Ok(())
            }
            ("previous_response_id", Route::Responses) if self.wanted.previous_response => {
                self.previous_response = text_of(json, MAX_VALUE_BYTES)?;
                Ok(())
            }
            ("system", Route::Messages | Route::CountTokens) | ("instructions", Route::Responses)
                if self.wanted.prompt =>
            {
                self.dialogue.preface(json, &mut self.prompt)
            }
            ("messages", Route::Messages | Route::CountTokens) | ("input", Route::Responses)
                if self.wanted.prompt =>
            {
                self.dialogue.turns(json, &mut self.prompt)
            }
            ("messages", Route::Chat | Route::Tokenize | Route::Pooling | Route::Classify)
                if self.wanted.prompt =>
            {
                self.prompt.reset();
                self.prompt.read_messages(json)
            }
            ("prompt", Route::Completions | Route::Tokenize)
            | ("input", Route::Embeddings | Route::Classify | Route::Pooling | Route::Speech)
            | ("content", Route::Tokenize)
            | ("tokens", Route::Detokenize)
                if self.wanted.prompt =>
            {
                self.prompt.reset();
                self.prompt.read(json)
            }
            // Each of them is one of several that make the prompts.
            ("query" | "documents" | "items" | "text_1" | "text_2", Route::Rerank | Route::Score)
                if self.wanted.prompt =>
            {
                self.prompt.read(json)
            }
            // Clients that have one of them may send null as the other.
            ("text" | "input_ids", Route::Generate) if self.wanted.prompt => self.prompt.read(json),
            ("n", Route::Chat) if self.wanted.prompt => {
                let choices = json.count()?;
                self.choices = choices.map(|choices| usize::try_from(choices).unwrap_or(usize::MAX));
                Ok(())
            }
            ("stream", route) if self.wanted.stream && route.generates() => {
                self.stream = json.truth()?;
                Ok(())
            }
            ("max_tokens" | "max_completion_tokens" | "max_output_tokens" | "sampling_params", route)
                if self.wanted.max_tokens =>
            {
                self.limits.read(key, route, json)
            }
            ("tools" | "lora_path" | "cache_salt" | "extra_key", route) if self.wanted.prefix.is_some() => {
                self.seed.read(key, route, json)
            }
            _ => json.skip(),
        }
    }
}

/// A text; `None` if it is something else.
fn text_of<'a>(json: &mut Json<'a>, limit: usize) -> Result<Option<Cow<'a, str>>, Broken> {
    if json.peek() != Some(b'"') {
        return json.skip().map(|()| None);
    }
    Ok(Some(json.string()?.text(limit).0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::prompt::MAX_TOKENS;
    use sglang_router_rs::core::TokenRatios;
    use sglang_router_rs::policies::PromptTokens;

    const ALL: Wanted = Wanted::ALL;

    fn found(route: Route, body: &str) -> Facts<'_> {
        facts(route, body.as_bytes(), ALL)
    }

    #[test]
    fn chat_messages_and_their_parts_are_joined() {
        let body = r#"{"model": "m", "stream": true, "messages": [
            {"role": "system", "content": "be\nbrief"},
            {"role": "user", "content": [{"type": "text", "text": "what is"},
                {"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "this?"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"text": "no"}]},
            {"role": "user", "content": "ok"}]}"#;
        let facts = found(Route::Chat, body);
        assert_eq!(facts.text.as_deref(), Some("be\nbrief\nwhat is\nthis?\nok"));
        assert_eq!(facts.model.as_deref(), Some("m"));
        assert_eq!((facts.tokens, facts.batch), (None, None));
    }

    #[test]
    fn single_text_is_borrowed_from_the_body() {
        for (route, body) in [
            (Route::Completions, r#"{"prompt": "hello"}"#),
            (Route::Embeddings, r#"{"input": "hello"}"#),
            (Route::Generate, r#"{"text": "hello", "sampling_params": {"n": 2}}"#),
            (Route::Chat, r#"{"messages": [{"content": "hello"}]}"#),
        ] {
            let facts = found(route, body);
            assert!(matches!(facts.text, Some(Cow::Borrowed("hello"))), "{route:?}: {facts:?}");
        }
    }

    #[test]
    fn lists_of_prompts_are_counted_and_token_ids_are_told_from_text() {
        let texts = found(Route::Completions, r#"{"prompt": ["a", "b\t"]}"#);
        assert_eq!((texts.text.as_deref(), texts.batch), (Some("a\nb\t"), Some(2)));
        let ids = found(Route::Generate, r#"{"input_ids": [1, 2, 3]}"#);
        assert_eq!((ids.tokens, ids.text, ids.batch), (Some(vec![1, 2, 3]), None, None));
        let lists = found(Route::Embeddings, r#"{"input": [[1, 2], [3]]}"#);
        assert_eq!((lists.tokens, lists.batch), (Some(vec![1, 2, 3]), Some(2)));
        assert_eq!(found(Route::Chat, r#"{"n": 3, "messages": []}"#).batch, Some(3));
        assert_eq!(found(Route::Chat, r#"{"n": 1, "messages": []}"#).batch, None);
    }

    #[test]
    fn field_of_another_route_is_not_the_prompt() {
        assert!(found(Route::Chat, r#"{"prompt": "a", "input": "b", "text": "c"}"#).text.is_none());
        assert!(found(Route::Completions, r#"{"messages": 7, "input": {}}"#).text.is_none());
    }

    #[test]
    fn only_what_is_wanted_is_looked_at() {
        let wanted = Wanted { model: true, ..Wanted::default() };
        let body = r#"{"prompt": ["hello", [1, 2]], "model": "m"}"#;
        let model = facts(Route::Completions, body.as_bytes(), wanted);
        assert_eq!((model.model.as_deref(), model.text_bytes, model.batch), (Some("m"), 0, None));
        let wanted = Wanted { prompt: true, ..Wanted::default() };
        let size = facts(Route::Completions, body.as_bytes(), wanted);
        assert_eq!((size.text_bytes, size.token_count, size.batch), (5, 2, Some(2)));
        assert_eq!((size.text, size.tokens, size.model), (None, None, None));
    }

    #[test]
    fn tokens_are_counted_where_there_are_ids_and_estimated_from_text() {
        let ratios = TokenRatios::default();
        let counted = |route, body: &str| {
            let PromptTokens { count, exact } = found(route, body).count_tokens(&ratios);
            (count, exact)
        };
        let text = "x".repeat(40);
        let messages = format!(r#"{{"messages": [{{"content": "{text}"}}, {{"content": "{text}"}}]}}"#);
        assert_eq!(counted(Route::Chat, &messages), (21, false));
        assert_eq!(counted(Route::Generate, r#"{"input_ids": [1, 2, 3]}"#), (3, true));
        assert_eq!(counted(Route::Completions, r#"{"prompt": [[1, 2], [3, 4]]}"#), (4, true));
        assert_eq!(counted(Route::Completions, &format!(r#"{{"prompt": [[1, 2], "{text}"]}}"#)), (12, false));
        assert_eq!(counted(Route::Completions, r#"{"prompt": 5}"#), (0, false));
        let many = format!(r#"{{"prompt": [{}1]}}"#, "1,".repeat(MAX_TOKENS));
        let many = found(Route::Completions, &many);
        assert_eq!(many.tokens.as_ref().map(Vec::len), Some(MAX_TOKENS));
        assert_eq!(many.count_tokens(&ratios).count as usize, MAX_TOKENS + 1);
    }

    #[test]
    fn body_that_is_no_json_object_says_so_and_keeps_what_came_before() {
        for body in ["", "[]", "{", "{} {}", "\u{fffd}", r#"{"model": "m""#, r#"{"model": "m", "n": ]}"#] {
            let facts = found(Route::Chat, body);
            assert!(facts.broken.is_some(), "{body}");
            assert_eq!(facts.model.is_some(), body.contains("model"), "{body}");
        }
    }

    #[test]
    fn odd_field_does_not_lose_the_others() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for odd in [
            r#""n": 1.0"#,
            r#""n": 1e0"#,
            r#""n": "x""#,
            r#""n": null"#,
            r#""n": {}"#,
            r#""n": -1"#,
            r#""temperature": NaN"#,
            r#""temperature": -Infinity"#,
            r#""x": "\ud83d""#,
            r#""\ud83d": 1"#,
            r#""x": "\q""#,
            "\"x\": \"a\nb\"",
            &format!(r#""x": {deep}"#),
            r#""tools": [{"a": [1, {"b": "}]"}]}]"#,
            r#""model": 5"#,
            r#""messages": {"a": 1}"#,
        ] {
            let body = format!(
                r#"{{{odd}, "messages": [7, {{"content": 1.5}}, {{"content": "hi"}}], "model": "m"}}"#
            );
            let facts = found(Route::Chat, &body);
            assert_eq!((facts.model.as_deref(), facts.text.as_deref()), (Some("m"), Some("hi")), "{odd:.40}");
            assert_eq!((facts.batch, facts.broken), (None, None), "{odd:.40}");
        }
        let marked = found(Route::Chat, "\u{feff}{\"model\": \"m\"}");
        assert_eq!((marked.model.as_deref(), marked.broken), (Some("m"), None));
    }

    #[test]
    fn odd_prompts_are_read_as_engines_read_them() {
        let half =
            found(Route::Chat, r#"{"messages": [{"content": "a\ud83d"}, {"content": [{"text": "b"}]}]}"#);
        assert_eq!(half.text.as_deref(), Some("a\u{fffd}\nb"));
        let broken = b"{\"prompt\": \"a\xff\", \"model\": \"m\"}";
        let facts = facts(Route::Completions, broken, ALL);
        assert_eq!((facts.text.as_deref(), facts.model.as_deref()), (Some("a\u{fffd}"), Some("m")));
        assert_eq!(found(Route::Chat, r#"{"n": 2.0, "messages": []}"#).batch, Some(2));
        let mixed = found(Route::Completions, r#"{"prompt": [[1, 2.0, null, 99999999999], null]}"#);
        assert_eq!((mixed.tokens, mixed.batch), (Some(vec![1, 2, u32::MAX]), Some(2)));
        let twice =
            found(Route::Completions, r#"{"prompt": ["a", "b"], "model": "x", "prompt": "c", "model": "m"}"#);
        assert_eq!(
            (twice.text.as_deref(), twice.model.as_deref(), twice.batch),
            (Some("c"), Some("m"), None)
        );
    }

    #[test]
    fn long_text_is_cut_and_its_length_is_known() {
        let (long, short) = ("x".repeat(MAX_TEXT_BYTES - 1), "yz");
        let one = format!(r#"{{"prompt": "{long}{short}{short}"}}"#);
        let one = found(Route::Completions, &one);
        assert_eq!(one.text_bytes, long.len() + 4);
        assert!(matches!(one.text, Some(Cow::Borrowed(text)) if text.len() == MAX_TEXT_BYTES));
        let several = format!(r#"{{"prompt": ["{long}", "{short}", "{short}"]}}"#);
        let several = found(Route::Completions, &several);
        assert_eq!((several.text_bytes, several.batch), (long.len() + 6, Some(3)));
        assert_eq!(several.text.map(|text| text.len()), Some(MAX_TEXT_BYTES));
    }

    #[tokio::test]
    async fn huge_bodies_hold_up_no_ordinary_prompt() {
        let _taken = HUGE.acquire_many(1).await;
        let body = |length: usize| Bytes::from(format!(r#"{{"model": "m", "x": "{}"}}"#, "x".repeat(length)));
        let [large, huge] = [body(MAX_INLINE_BYTES), body(HUGE_BYTES)];
        let waiting = read(Route::Chat, &huge, None, ALL);
        tokio::select! {
            biased;
            _ = waiting => panic!("it is not its turn"),
            facts = read(Route::Chat, &large, None, ALL) => assert_eq!(facts.model.as_deref(), Some("m")),
        }
    }

    #[tokio::test]
    async fn large_body_is_read_as_a_small_one_is() {
        let long = "x".repeat(MAX_INLINE_BYTES);
        let body = Bytes::from(format!(r#"{{"prompt": "{long}", "model": "m"}}"#));
        let facts = read(Route::Completions, &body, None, ALL).await;
        assert_eq!((facts.text.as_deref(), facts.text_bytes), (Some(&*long), long.len()));
        assert_eq!((facts.model.as_deref(), facts.broken), (Some("m"), None));
    }
}
