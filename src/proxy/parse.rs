//! What policies and the data plane want to know of a body. One pass, no tree of values; the body
//! itself goes to the worker as it came.

use std::borrow::Cow;
use std::fmt;

use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;

use crate::policies::RequestNeeds;
use crate::proxy::prompt::MessagesSeed;
use crate::proxy::prompt::Prompt;
use crate::proxy::prompt::PromptSeed;
use crate::proxy::prompt::Text;
use crate::proxy::route::Route;

/// What is looked for in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The prompt: its text, its token ids, how many there are.
    pub prompt: bool,
    /// The model.
    pub model: bool,
}

impl Wanted {
    /// What the policy needs, the model if requests are routed by it, and the prompt if a pair of
    /// workers has to be told how many there are.
    pub fn new(needs: RequestNeeds, by_model: bool, pair: bool) -> Self {
        Self { prompt: needs.text || needs.tokens || pair, model: needs.model || by_model }
    }

    /// True if the body has to be parsed.
    pub fn anything(self) -> bool {
        self.prompt || self.model
    }
}

/// What was found in a body.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The prompt's text: borrowed if it is one piece without escapes; otherwise pieces (chat
    /// messages, parts of messages, prompts of a batch) joined by line feeds.
    pub text: Option<Cow<'a, str>>,
    /// Token ids, where the request has them instead of text.
    pub tokens: Option<Vec<u32>>,
    /// The requested model.
    pub model: Option<Cow<'a, str>>,
    /// How many prompts or choices are asked for, if the request has a list of prompts or more
    /// than one choice.
    pub batch: Option<usize>,
}

/// Looks for what is wanted in a JSON object.
///
/// # Errors
///
/// If the body is not a JSON object, or what is wanted has another form than the API says.
pub fn facts<'a>(route: Route, body: &'a [u8], wanted: Wanted) -> Result<Facts<'a>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let facts = deserializer.deserialize_map(BodyVisitor { route, wanted })?;
    deserializer.end()?;
    Ok(facts)
}

struct BodyVisitor {
    route: Route,
    wanted: Wanted,
}

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Facts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut prompt = Prompt::default();
        let mut model = None;
        let mut choices = None;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match (&*key.0, self.route) {
                ("model", _) if self.wanted.model => {
                    model = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0);
                }
                ("messages", Route::Chat) if self.wanted.prompt => {
                    map.next_value_seed(MessagesSeed(&mut prompt))?;
                }
                ("prompt", Route::Completions)
                | ("input", Route::Embeddings)
                | ("text" | "input_ids", Route::Generate)
                    if self.wanted.prompt =>
                {
                    map.next_value_seed(PromptSeed(&mut prompt))?;
                }
                ("n", Route::Chat) if self.wanted.prompt => choices = map.next_value::<Option<usize>>()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Prompt { text, tokens, batch } = prompt;
        let tokens = (!tokens.is_empty()).then_some(tokens);
        Ok(Facts { text, tokens, model, batch: batch.or(choices.filter(|choices| *choices > 1)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wanted = Wanted { prompt: true, model: true };

    fn found(route: Route, body: &str) -> Facts<'_> {
        facts(route, body.as_bytes(), ALL).unwrap()
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
        let wanted = Wanted { prompt: false, model: true };
        let facts = facts(Route::Chat, br#"{"messages": 7, "model": "m"}"#, wanted).unwrap();
        assert_eq!(facts.model.as_deref(), Some("m"));
    }

    #[test]
    fn anything_but_a_json_object_of_the_api_is_an_error() {
        for body in ["", "[]", "{", r#"{"model": 5}"#, r#"{"messages": 5}"#, "{} {}", "\u{fffd}"] {
            assert!(facts(Route::Chat, body.as_bytes(), ALL).is_err(), "{body}");
        }
    }
}
