//! The tokenizer of one model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::Value;
use serde_json::Value as Json;

use crate::tokens::chat_template::{ChatTemplate, MAX_RENDERED_BYTES};
use crate::tokens::prompt_body::{self, NoText, PromptForm, PromptTexts};
use crate::tokens::tokenizer_files::TokenizerFiles;
use sglang_router_rs::types::printable;

/// Names of special tokens that templates know.
const SPECIAL_TOKENS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// The tokens of a prompt that came as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenizedPrompt {
    /// Their ids, one prompt after the other.
    pub ids: Vec<u32>,
    /// How many of them are the first prompt's.
    first: usize,
    /// True if an engine with the same tokenizer counts as many, as far as can be told.
    pub is_exact: bool,
    /// True if the tokens stand for all that the model is given: there are no pictures.
    pub is_whole: bool,
}

impl TokenizedPrompt {
    /// Those of the first prompt.
    pub(crate) fn first(&self) -> &[u32] {
        self.ids.get(..self.first).unwrap_or_default()
    }
}

/// Why a prompt was not tokenized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTokenized {
    /// It is in no form that can be told, or there is no template for it.
    Form,
    /// It is too long.
    TooLong,
    /// The template failed.
    Template,
    /// The tokenizer failed.
    Tokenizer,
    /// Too many others were waiting.
    Busy,
    /// It took too long.
    Late,
}

impl NotTokenized {
    /// All, with their names in metrics.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Form, "form"),
        (Self::TooLong, "too_long"),
        (Self::Template, "template"),
        (Self::Tokenizer, "tokenizer"),
        (Self::Busy, "busy"),
        (Self::Late, "late"),
    ];
}

/// What was tokenized before, of one model.
pub(crate) use fastokens::SegmentCacheStats;

/// The tokenizer of one model, with its chat template.
pub(crate) struct ModelTokenizer {
    tokenizer: fastokens::Tokenizer,
    template: Option<ChatTemplate>,
    /// Of the files that it was made from, and what it may keep.
    digest: (String, usize),
    has_told: AtomicBool,
}

impl std::fmt::Debug for ModelTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelTokenizer").field("template", &self.template.is_some()).finish_non_exhaustive()
    }
}

impl ModelTokenizer {
    /// Makes it of its files. It keeps `cache_bytes` of what was tokenized before.
    ///
    /// # Errors
    ///
    /// The key of its entry that is at fault, and what is wrong.
    pub(crate) fn new(files: &TokenizerFiles, cache_bytes: usize) -> Result<Self, (&'static str, String)> {
        let special =
            SPECIAL_TOKENS.iter().filter_map(|name| Some((*name, Value::from(files.special_token(name)?))));
        let template = files.template.as_deref().map(|text| ChatTemplate::new(text, special.collect()));
        let template = template
            .transpose()
            .map_err(|error| ("chat_template", format!("the chat template cannot be used: {error}")))?;
        let wrong = |error: String| ("path", format!("the tokenizer cannot be used: {error}"));
        // Whoever makes the file may have made it wrong; that must not end the router.
        let made = catch_unwind(|| make(files)).unwrap_or_else(|_| Err("it is broken".to_owned()));
        let mut tokenizer = made.map_err(wrong)?;
        // Engines tokenize whole prompts, whatever the file says of lengths.
        tokenizer.set_truncation(None);
        tokenizer.set_padding(None);
        tokenizer.enable_segment_cache(cache_bytes);
        let digest = (files.digest(), cache_bytes);
        Ok(Self { tokenizer, template, digest, has_told: AtomicBool::new(false) })
    }

    /// True if it was made of the same files, and may keep as much.
    pub(crate) fn is_made_of(&self, files: &TokenizerFiles, cache_bytes: usize) -> bool {
        self.digest == (files.digest(), cache_bytes)
    }

    /// True if it has a chat template.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// What was tokenized before.
    pub(crate) fn cached(&self) -> SegmentCacheStats {
        self.tokenizer.segment_cache_stats().unwrap_or_default()
    }

    /// Tokenizes something, so that the thread has what it needs for the next time.
    pub(crate) fn warm(&self) {
        let _ = self.encode("warm", false);
    }

    /// Tokenizes the prompt in a body.
    ///
    /// # Errors
    ///
    /// [`NotTokenized`].
    pub(crate) fn tokenize(&self, form: PromptForm, body: &[u8]) -> Result<TokenizedPrompt, NotTokenized> {
        let prompt =
            prompt_body::texts(form, body, self.template.as_ref()).map_err(|reason| match reason {
                NoText::Form | NoText::NoTemplate => NotTokenized::Form,
                NoText::Template(error) => self.tell(NotTokenized::Template, &error),
            })?;
        if prompt.texts.iter().map(String::len).sum::<usize>() > MAX_RENDERED_BYTES {
            return Err(NotTokenized::TooLong);
        }
        let PromptTexts { is_exact, is_whole, .. } = prompt;
        let mut all = TokenizedPrompt { is_exact, is_whole, ..TokenizedPrompt::default() };
        let mut first = None;
        for text in &prompt.texts {
            let mut ids = self
                .encode(text, prompt.adds_special_tokens)
                .map_err(|error| self.tell(NotTokenized::Tokenizer, &error))?;
            first.get_or_insert(ids.len());
            if all.ids.is_empty() { all.ids = ids } else { all.ids.append(&mut ids) }
        }
        all.first = first.unwrap_or_default();
        Ok(all)
    }

    fn encode(&self, text: &str, adds_special_tokens: bool) -> Result<Vec<u32>, String> {
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            self.tokenizer.encode_with_special_tokens(text, adds_special_tokens)
        }));
        encoded.map_err(|_| "it panicked".to_owned())?.map_err(|error| error.to_string())
    }

    /// Logs the first failure; the others are counted.
    fn tell(&self, what: NotTokenized, error: &str) -> NotTokenized {
        // Relaxed: a flag that orders nothing else.
        if !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                ?what,
                error,
                "a prompt was not tokenized; an estimate stands in. Others are counted only"
            );
        }
        what
    }
}

fn make(files: &TokenizerFiles) -> Result<fastokens::Tokenizer, String> {
    let mut json: Json = serde_json::from_slice(&files.tokenizer).map_err(|error| error.to_string())?;
    check_kind(&json)?;
    add_tokens_of(&files.config, &mut json);
    fastokens::Tokenizer::from_json(json).map_err(|error| error.to_string())
}

/// Refuses a kind of tokenizer that nobody here knows, with what to do.
fn check_kind(json: &Json) -> Result<(), String> {
    match json.pointer("/model/type").and_then(Json::as_str) {
        None | Some("BPE") => Ok(()),
        Some(kind) => Err(format!(
            "its model is {}, expected BPE; leave this entry out: the tokens of such prompts are estimated then",
            printable(kind)
        )),
    }
}

/// Adds the tokens that only the configuration names, as the libraries of models do.
fn add_tokens_of(config: &Json, json: &mut Json) {
    let Some(named) = config.get("added_tokens_decoder").and_then(Json::as_object) else { return };
    let Some(known) = json.get_mut("added_tokens").and_then(Json::as_array_mut) else { return };
    let mut new: Vec<(u32, Json)> = Vec::new();
    for (id, token) in named {
        let (Ok(id), Some(content)) = (id.parse::<u32>(), token.get("content")) else { continue };
        let is_known = |token: &Json| {
            token.get("id").and_then(Json::as_u64) == Some(u64::from(id))
                || token.get("content") == Some(content)
        };
        if !known.iter().any(is_known) {
            let mut token = token.clone();
            if let Some(fields) = token.as_object_mut() {
                fields.insert("id".to_owned(), Json::from(id));
            }
            new.push((id, token));
        }
    }
    new.sort_by_key(|(id, _)| *id);
    known.extend(new.into_iter().map(|(_, token)| token));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::TokenizerEntry;

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizer");

    fn tokenizer(cache_bytes: usize) -> ModelTokenizer {
        let entry = TokenizerEntry { path: FIXTURE.into(), ..TokenizerEntry::default() };
        ModelTokenizer::new(&TokenizerFiles::read(&entry).unwrap(), cache_bytes).unwrap()
    }

    fn expected() -> Json {
        serde_json::from_slice(&std::fs::read(format!("{FIXTURE}/expected.json")).unwrap()).unwrap()
    }

    fn told(
        tokenizer: &ModelTokenizer,
        form: PromptForm,
        body: &Json,
    ) -> Result<TokenizedPrompt, NotTokenized> {
        tokenizer.tokenize(form, body.to_string().as_bytes())
    }

    fn ids(value: &Json) -> Vec<u32> {
        serde_json::from_value(value["ids"].clone()).unwrap()
    }

    /// The bodies of chats, with their keys in the order of the file, which templates see.
    fn bodies() -> Vec<String> {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(format!("{FIXTURE}/expected.json")).unwrap()).unwrap();
        let chats = expected.get_attr("chats").unwrap();
        let body = |chat: Value| serde_json::to_string(&chat.get_attr("body").unwrap()).unwrap();
        chats.try_iter().unwrap().map(body).collect()
    }

    #[test]
    fn ids_are_those_that_engines_get() {
        let (tokenizer, expected) = (tokenizer(1 << 20), expected());
        let texts = expected["texts"].as_array().unwrap();
        for case in texts {
            let found = told(&tokenizer, PromptForm::Prompt, &json!({"prompt": case["text"]})).unwrap();
            assert_eq!(
                (&found.ids, found.first(), found.is_exact, found.is_whole),
                (&ids(case), &*found.ids, true, true),
                "{case}"
            );
        }
        for (case, body) in expected["chats"].as_array().unwrap().iter().zip(bodies()) {
            let found = tokenizer.tokenize(PromptForm::Chat, body.as_bytes()).unwrap();
            assert_eq!(found.ids, ids(case), "{case}");
            assert_eq!((found.is_exact, found.is_whole), (case["body"]["tools"].is_null(), true), "{case}");
        }
        let all = json!({"input": texts.iter().map(|case| &case["text"]).collect::<Vec<_>>(), "prompt": 7});
        let found = told(&tokenizer, PromptForm::Input, &all).unwrap();
        assert_eq!(found.ids, texts.iter().flat_map(ids).collect::<Vec<_>>());
        assert_eq!(found.first(), ids(&texts[0]));
    }

    #[test]
    fn what_engines_may_make_otherwise_is_not_called_exact() {
        let tokenizer = tokenizer(0);
        let content = |content: Json| {
            told(&tokenizer, PromptForm::Chat, &json!({"messages": [{"role": "user", "content": content}]}))
        };
        let text = |text: &str| json!({"type": "text", "text": text});
        let plain = content(json!("a b")).unwrap();
        assert!(plain.is_exact);
        assert_eq!(content(json!([text("a b")])).unwrap(), plain);
        assert!(!content(json!([text("a"), text("b")])).unwrap().is_exact);
        assert!(
            !content(json!([text("a b"), {"type": "image_url", "image_url": {"url": "x"}}]))
                .unwrap()
                .is_exact
        );
        let tools = json!({"messages": [], "tools": [{"type": "function"}]});
        assert!(!told(&tokenizer, PromptForm::Chat, &tools).unwrap().is_exact);
        for body in [
            json!({"messages": 5}),
            json!({"messages": [5]}),
            json!({"messages": [], "chat_template": "x"}),
            json!({"messages": [], "continue_final_message": true}),
        ] {
            assert_eq!(told(&tokenizer, PromptForm::Chat, &body), Err(NotTokenized::Form), "{body}");
        }
        assert_eq!(
            told(&tokenizer, PromptForm::Prompt, &json!({"prompt": [[1, 2]]})),
            Err(NotTokenized::Form)
        );
        assert_eq!(tokenizer.tokenize(PromptForm::Text, b"{\"text\": \"a"), Err(NotTokenized::Form));
        let long = "x ".repeat(MAX_RENDERED_BYTES / 2 + 1);
        assert_eq!(told(&tokenizer, PromptForm::Text, &json!({"text": long})), Err(NotTokenized::TooLong));
    }

    #[test]
    fn text_that_comes_again_is_not_tokenized_again() {
        let tokenizer = tokenizer(1 << 20);
        let body = json!({"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]});
        let first = told(&tokenizer, PromptForm::Chat, &body);
        let before = tokenizer.cached();
        assert!(before.entries > 0 && before.bytes > 0, "{before:?}");
        assert_eq!(told(&tokenizer, PromptForm::Chat, &body), first);
        let after = tokenizer.cached();
        assert_eq!(after.misses, before.misses);
        assert!(after.hits > before.hits);
    }

    proptest! {
        #[test]
        fn what_is_kept_changes_no_ids(
            contents in prop::collection::vec(
                prop::collection::vec(prop_oneof![
                    Just("<|im_end|>\n".to_owned()), Just("<tool_call>".to_owned()), Just("<|im_".to_owned()),
                    Just("be brief. ".to_owned()), Just("e\u{301}".to_owned()), Just(" \n ".to_owned()),
                    "\\PC{0,12}", "[a-z ]{0,30}",
                ], 0..5),
                1..6,
            ),
        ) {
            // One for all cases, so that later ones meet what earlier ones left, and too small for all of them.
            static KEEPING: std::sync::LazyLock<(ModelTokenizer, ModelTokenizer)> =
                std::sync::LazyLock::new(|| (tokenizer(64 << 10), tokenizer(0)));
            let (keeping, plain) = &*KEEPING;
            let messages: Vec<Json> =
                contents.iter().map(|parts| json!({"role": "user", "content": parts.concat()})).collect();
            // A conversation grows by one message at a time.
            for length in 1..=messages.len() {
                let body = json!({"messages": &messages[..length]});
                prop_assert_eq!(
                    told(keeping, PromptForm::Chat, &body).unwrap(),
                    told(plain, PromptForm::Chat, &body).unwrap()
                );
            }
        }
    }
}
