//! The prompt of a request: text that is borrowed from the body where that is possible, and
//! token ids.

use std::borrow::Cow;

use crate::proxy::json::{Broken, Json, Quoted};

/// What is between two pieces of text: messages, parts of a message, prompts of a batch.
const SEPARATOR: char = '\n';

/// Bytes of text that are kept for policies, about a million tokens. The rest is counted.
pub(crate) const MAX_TEXT_BYTES: usize = 4 << 20;

/// Token ids that are kept for policies. The rest is counted.
pub(crate) const MAX_TOKENS: usize = 1 << 20;

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
}

impl<'a> Prompt<'a> {
    /// Nothing was found yet.
    pub(crate) fn keeping(limits: PromptLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Adds a piece of text. A single piece stays borrowed.
    fn push(&mut self, piece: Quoted<'a>) {
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
        self.token_count += 1;
        if self.tokens.len() < self.limits.tokens {
            self.tokens.push(u32::try_from(token).unwrap_or(u32::MAX));
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
        self.read_fields(json, "content", Self::read_content)
    }

    /// A message's content: text, nothing, or a list of parts.
    fn read_content(&mut self, json: &mut Json<'a>) -> Result<(), Broken> {
        match json.peek() {
            Some(b'[') => self.read_fields(json, "text", Self::read_text),
            _ => self.read_text(json),
        }
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

    /// Reads one field of every object in a list by `read`.
    fn read_fields(
        &mut self,
        json: &mut Json<'a>,
        name: &str,
        read: impl Fn(&mut Self, &mut Json<'a>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if json.peek() != Some(b'[') {
            return json.skip();
        }
        json.list(|json| {
            if json.peek() != Some(b'{') {
                return json.skip();
            }
            json.object(|key, json| if key == name { read(self, json) } else { json.skip() })
        })
    }
}
