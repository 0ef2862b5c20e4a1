//! The prompt of a request: text that is borrowed from the body where that is possible, and
//! token ids.

use std::borrow::Cow;

use crate::proxy::json::{Broken, Json, Quoted};
use sglang_router_rs::types::{PrefixHasher, PrefixSeed};

/// What is between two pieces of text: messages, parts of a message, prompts of a batch.
const SEPARATOR: char = '\n';

/// Bytes of text that are kept for policies, about a million tokens. The rest is counted.
pub(crate) const MAX_TEXT_BYTES: usize = 4 << 20;

/// Token ids that are kept for policies. The rest is counted.
pub(crate) const MAX_TOKENS: usize = 1 << 20;

/// Contents within a part of a content that are read: a tool's result has parts of its own.
const MAX_NESTED_CONTENTS: u8 = 1;

/// Longest role, in bytes.
const MAX_ROLE_BYTES: usize = 256;

/// What is kept of a prompt. The rest is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptLimits {
    /// Bytes of text.
    pub(crate) text_bytes: usize,
    /// Token ids.
    pub(crate) tokens: usize,
}

impl PromptLimits {
    /// As much as there is room for, of text or tokens or both.
    pub(crate) fn new(text: bool, tokens: bool) -> Self {
        let limit = |is_kept: bool, limit| if is_kept { limit } else { 0 };
        Self { text_bytes: limit(text, MAX_TEXT_BYTES), tokens: limit(tokens, MAX_TOKENS) }
    }
}

/// What was found of a prompt so far.
#[derive(Debug, Default)]
pub(crate) struct Prompt<'a> {
    limits: PromptLimits,
    /// `None` until the first piece of text; as much as is kept.
    pub(crate) text: Option<Cow<'a, str>>,
    /// Bytes of the whole text.
    pub(crate) text_bytes: usize,
    /// Token ids, one prompt after the other; as many as are kept.
    pub(crate) tokens: Vec<u32>,
    /// How many there are.
    pub(crate) token_count: usize,
    /// How many prompts there are, if the request has a list of them.
    pub(crate) batch: Option<usize>,
    /// What hashes the first prompt, if that is wanted.
    hasher: Option<PrefixHasher>,
    /// Whether the first prompt is over.
    is_later: bool,
}

/// What of a message reaches the model beside its role and content.
const MESSAGE_PARTS: [&str; 9] = [
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "reasoning",
    "reasoning_content",
    // Of the items of a response.
    "arguments",
    "call_id",
    "summary",
];

/// What of a part of a content is not the part itself.
const NO_PARTS: [&str; 2] = ["type", "cache_control"];

impl<'a> Prompt<'a> {
    /// Nothing was found yet.
    pub(crate) fn keeping(limits: PromptLimits, hasher: Option<PrefixHasher>) -> Self {
        Self { limits, hasher, ..Self::default() }
    }

    /// Forgets what was found.
    pub(crate) fn reset(&mut self) {
        let hasher = self.hasher.take().map(|mut hasher| {
            hasher.clear();
            hasher
        });
        *self = Self::keeping(self.limits, hasher);
    }

    /// The hashes of the first prompt, if they are wanted and there is one.
    pub(crate) fn take_hashes(&mut self, seed: &PrefixSeed<'_>) -> Option<Vec<u64>> {
        let hasher = self.hasher.take().filter(PrefixHasher::is_begun)?;
        Some(hasher.finish(seed))
    }

    /// What hashes, while the first prompt is read.
    fn hashing(&mut self) -> Option<&mut PrefixHasher> {
        self.hasher.as_mut().filter(|_| !self.is_later)
    }

    /// Adds a piece of text. A single piece stays borrowed.
    fn push(&mut self, piece: Quoted<'a>) {
        if let Some(hasher) = self.hashing() {
            hasher.text();
            piece.pieces(|text| hasher.more(text.as_bytes()));
        }
        let Some(text) = &mut self.text else {
            let (text, whole) = piece.text(self.limits.text_bytes);
            (self.text, self.text_bytes) = (Some(text), whole);
            return;
        };
        // Nothing is put behind a gap.
        let is_whole = text.len() == self.text_bytes && text.len() < self.limits.text_bytes;
        let length = if is_whole {
            let text = text.to_mut();
            text.push(SEPARATOR);
            piece.write(text, self.limits.text_bytes)
        } else {
            piece.text(0).1
        };
        self.text_bytes += SEPARATOR.len_utf8() + length;
    }

    fn push_token(&mut self, token: u64) {
        let token = u32::try_from(token).unwrap_or(u32::MAX);
        self.token_count += 1;
        if self.tokens.len() < self.limits.tokens {
            self.tokens.push(token);
        }
        if let Some(hasher) = self.hashing() {
            hasher.token(token);
        }
    }

    /// Reads `prompt`, `input`, `text` or `input_ids`: a string, strings, token ids, or lists of
    /// token ids. Anything else is skipped.
    pub(crate) fn read(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        match json.peek() {
            Some(b'"') => {
                self.push(json.string()?);
                Ok(())
            }
            Some(b'[') => self.read_list(json),
            _ => json.skip(),
        }
    }

    fn read_list(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        let mut prompts = 0;
        json.list(|json| {
            let is_prompt = self.read_item(json)?;
            prompts += usize::from(is_prompt);
            self.is_later |= is_prompt;
            Ok(())
        })?;
        if prompts > 0 {
            self.batch = Some(prompts);
        }
        Ok(())
    }

    /// One item of a list of prompts; true if it is a whole prompt, false if it is a token id.
    fn read_item(&mut self, json: &mut Json<'a>) -> Result<bool, Broken> {
        match json.peek() {
            Some(b'"') => self.push(json.string()?),
            Some(b'[') => json.list(|json| self.read_token(json))?,
            Some(b'-' | b'0'..=b'9') => {
                self.read_token(json)?;
                return Ok(false);
            }
            _ => json.skip()?,
        }
        Ok(true)
    }

    fn read_token(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        if let Some(token) = json.count()? {
            self.push_token(token);
        }
        Ok(())
    }

    /// Reads `messages` of a chat: the text of every message's content.
    pub(crate) fn read_messages(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        self.read_items(json, 0)
    }

    /// `deeper`: how many more contents may be within each other; none in a chat.
    fn read_items(&mut self, json: &mut Json<'a>, deeper: u8) -> Result<(), Broken> {
        let is_hashing = self.hasher.is_some();
        each_object(json, |key, json| match key {
            "content" => self.read_parts(json, deeper),
            // What a tool gave, as an item of a response.
            "output" if deeper > 0 => self.read_parts(json, deeper),
            "role" if is_hashing => self.read_role(json),
            key if is_hashing && MESSAGE_PARTS.contains(&key) => self.read_part(key, json),
            _ => json.skip(),
        })
    }

    /// Reads the turns of a conversation: messages and other items, or a text that is the only one.
    pub(crate) fn read_turns(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        if json.peek() == Some(b'[') {
            self.read_items(json, MAX_NESTED_CONTENTS)
        } else {
            self.read_text(json)
        }
    }

    /// Reads a message's content: text, nothing, or a list of parts.
    pub(crate) fn read_content(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        self.read_parts(json, MAX_NESTED_CONTENTS)
    }

    /// `deeper`: how many more contents may be within each other.
    fn read_parts(&mut self, json: &mut Json<'a>, deeper: u8) -> Result<(), Broken> {
        let is_hashing = self.hasher.is_some();
        match json.peek() {
            Some(b'[') => each_object(json, |key, json| match key {
                "text" => self.read_text(json),
                // What a tool gave, as a part of a message in Anthropic's form.
                "content" if deeper > 0 => self.read_parts(json, deeper - 1),
                key if is_hashing && !NO_PARTS.contains(&key) => self.read_part(key, json),
                _ => json.skip(),
            }),
            _ => self.read_text(json),
        }
    }

    fn read_role(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        if json.peek() != Some(b'"') {
            return json.skip();
        }
        let (role, _) = json.string()?.text(MAX_ROLE_BYTES);
        if let Some(hasher) = self.hashing() {
            hasher.role(&role);
        }
        Ok(())
    }

    /// What is no text, and part of the prompt all the same.
    fn read_part(&mut self, name: &str, json: &mut Json<'a>) -> Result<(), Broken> {
        let content = json.raw()?;
        if content != b"null"
            && let Some(hasher) = self.hashing()
        {
            hasher.part(name, content);
        }
        Ok(())
    }

    fn read_text(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        match json.peek() {
            Some(b'"') => {
                self.push(json.string()?);
                Ok(())
            }
            _ => json.skip(),
        }
    }
}

/// Reads the fields of every object in a list by `field`.
fn each_object<'a>(
    json: &mut Json<'a>,
    mut field: impl FnMut(&str, &mut Json<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if json.peek() != Some(b'[') {
        return json.skip();
    }
    json.list(|json| if json.peek() == Some(b'{') { json.object(&mut field) } else { json.skip() })
}
