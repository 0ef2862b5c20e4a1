//! What is sent: chat requests, rendered before the run or, for a trace, from ready-made text; or
//! completions of token ids.
//!
//! A token is taken to be four bytes of text, as the simulated worker takes it and as is usual for
//! English; a real tokenizer will count somewhat differently. Token ids are counted alike by all.

use std::fmt::Write;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use crate::load::trace_entry::Entry;

/// Bytes of prompt text per token.
const BYTES_PER_TOKEN: usize = 4;
/// Prompt tokens per block id of Mooncake's traces.
pub const TRACE_BLOCK_TOKENS: u32 = 512;
/// The ids before this one are left to what vocabularies begin with: marks of all kinds.
pub const FIRST_TOKEN_ID: u32 = 100;
/// Length of the text that prompts are cut from.
const FILLER_BYTES: usize = 1 << 16;
/// Ids of prompts begin here, apart from the block ids of traces.
const OWN_IDS: u64 = 1 << 48;

const WORDS: [&str; 16] = [
    "river ", "stone ", "light ", "house ", "paper ", "green ", "music ", "water ", "seven ", "north ",
    "table ", "quiet ", "bread ", "cloud ", "horse ", "train ",
];

/// What the requests of a run have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestShape {
    /// `model`; not sent if there is none.
    pub model: Option<String>,
    /// Length of a prompt in tokens; a trace has its own.
    pub prompt_tokens: u32,
    /// `max_tokens`, at least 1; a trace has its own.
    pub output_tokens: u32,
    /// How many different prompts are sent in turn, at least 1; a trace has its own.
    pub prompts: u32,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Further fields of every body, such as `ignore_eos`.
    pub fields: Map<String, Value>,
    /// Prompts are token ids from [`FIRST_TOKEN_ID`] up to below this, sent as completions; chats of text
    /// without it.
    pub token_ids_below: Option<u32>,
    /// Prompt tokens per block id of the trace, at least 1.
    pub trace_block_tokens: u32,
}

/// The bodies of a run.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// Up to the prompt's text, inside its quotes.
    head: Bytes,
    /// From the closing quote of the prompt up to the value of `max_tokens`.
    middle: Bytes,
    filler: Bytes,
    ready: Vec<Bytes>,
    stream: bool,
    ids: Option<Range<u32>>,
    block_tokens: usize,
}

impl Bodies {
    /// Renders all prompts of this shape.
    pub(crate) fn new(shape: &RequestShape) -> Self {
        let mut fields = Map::new();
        fields.extend(shape.model.iter().map(|model| ("model".to_owned(), Value::from(model.as_str()))));
        if shape.stream {
            fields.insert("stream".to_owned(), Value::from(true));
        }
        fields.extend(shape.fields.clone());
        // These are written by hand.
        ["messages", "prompt", "max_tokens"].iter().for_each(|name| drop(fields.remove(*name)));
        let object = Value::Object(fields).to_string();
        let own = object.strip_suffix('}').unwrap_or_default();
        let comma = if own.len() > 1 { "," } else { "" };
        let (before, after) = match shape.token_ids_below {
            None => (r#""messages":[{"role":"user","content":""#, &br#""}],"max_tokens":"#[..]),
            Some(_) => (r#""prompt":["#, &br#"],"max_tokens":"#[..]),
        };
        let mut bodies = Self {
            head: Bytes::from(format!("{own}{comma}{before}")),
            middle: Bytes::from_static(after),
            filler: filler(),
            ready: Vec::new(),
            stream: shape.stream,
            ids: shape.token_ids_below.map(|below| FIRST_TOKEN_ID..below.max(FIRST_TOKEN_ID + 1)),
            block_tokens: length(shape.trace_block_tokens.max(1)),
        };
        let tokens = length(shape.prompt_tokens);
        bodies.ready = (0..u64::from(shape.prompts.max(1)))
            .map(|prompt| {
                bodies.render(shape.output_tokens, tokens, |out| bodies.push(out, OWN_IDS + prompt, tokens))
            })
            .collect();
        bodies
    }

    /// The body of a request without a trace.
    pub(crate) fn ready(&self, number: u64) -> Bytes {
        let count = u64::try_from(self.ready.len()).unwrap_or(u64::MAX).max(1);
        let at = usize::try_from(number % count).unwrap_or(0);
        self.ready.get(at).cloned().unwrap_or_default()
    }

    /// The body of a recorded request. The same block id gives the same text, or the same ids, so that
    /// prompts share the prefixes that they shared when they were recorded.
    pub(crate) fn of_trace(&self, number: u64, entry: &Entry) -> Bytes {
        let tokens = length(entry.input_tokens);
        self.render(entry.output_tokens, tokens, |out| {
            let mut left = tokens;
            for id in entry.units(u32::try_from(self.block_tokens).unwrap_or(u32::MAX)).iter() {
                let length = left.min(self.block_tokens);
                self.push(out, *id, length);
                left -= length;
            }
            // Without ids, or with too few of them, no other prompt has the rest.
            self.push(out, OWN_IDS + number, left);
        })
    }

    /// Whether answers are streamed.
    pub(crate) fn stream(&self) -> bool {
        self.stream
    }

    fn render(&self, max_tokens: u32, tokens: usize, prompt: impl FnOnce(&mut BytesMut)) -> Bytes {
        let bytes = tokens.saturating_mul(BYTES_PER_TOKEN);
        let mut out = BytesMut::with_capacity(self.head.len() + bytes + self.middle.len() + 12);
        out.put_slice(&self.head);
        prompt(&mut out);
        // What stands between two ids also stands behind the last one.
        if out.last() == Some(&b',') {
            out.truncate(out.len() - 1);
        }
        out.put_slice(&self.middle);
        out.put_slice(max_tokens.to_string().as_bytes());
        out.put_u8(b'}');
        out.freeze()
    }

    /// Tokens of a prompt which this id stands for, as the prompt is to be sent.
    fn push(&self, out: &mut BytesMut, id: u64, tokens: usize) {
        match &self.ids {
            Some(ids) => push_ids(out, id, ids.clone(), tokens),
            None => self.push_text(out, id, tokens.saturating_mul(BYTES_PER_TOKEN)),
        }
    }

    /// Text of this length that begins with the id, so that other ids have another text from the
    /// first token on.
    fn push_text(&self, out: &mut BytesMut, id: u64, bytes: usize) {
        let name = format!("{id:x} ");
        let name = name.as_bytes();
        let name = name.get(..bytes.min(name.len())).unwrap_or_default();
        out.put_slice(name);
        let mut left = bytes - name.len();
        while left > 0 {
            let piece = self.filler.get(..left.min(FILLER_BYTES)).unwrap_or(&self.filler);
            out.put_slice(piece);
            left -= piece.len();
        }
    }
}

/// So many token ids by chance, the same ones for the same id, with a comma behind each.
fn push_ids(out: &mut BytesMut, id: u64, ids: Range<u32>, tokens: usize) {
    let mut random = fastrand::Rng::with_seed(id);
    for _ in 0..tokens {
        // Writing into memory cannot fail.
        let _ = write!(out, "{},", random.u32(ids.clone()));
    }
}

fn length(tokens: u32) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX)
}

/// Words in a fixed random order.
fn filler() -> Bytes {
    let mut random = fastrand::Rng::with_seed(0x6c6f_6164);
    let mut text = String::with_capacity(FILLER_BYTES + 8);
    while text.len() < FILLER_BYTES {
        text.push_str(random.choice(WORDS).unwrap_or("word "));
    }
    text.truncate(FILLER_BYTES);
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shape() -> RequestShape {
        RequestShape {
            model: Some("a \"model\"".to_owned()),
            prompt_tokens: 20,
            output_tokens: 7,
            prompts: 3,
            stream: true,
            fields: Map::new(),
            token_ids_below: None,
            trace_block_tokens: TRACE_BLOCK_TOKENS,
        }
    }

    fn parsed(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    fn content(body: &Bytes) -> String {
        parsed(body)["messages"][0]["content"].as_str().unwrap().to_owned()
    }

    #[test]
    fn body_is_a_chat_request_of_the_shape() {
        let mut shape = shape();
        shape.fields.insert("ignore_eos".to_owned(), Value::from(true));
        shape.fields.insert("messages".to_owned(), Value::from("not this"));
        let body = parsed(&Bodies::new(&shape).ready(0));
        assert_eq!(body["model"], "a \"model\"");
        assert_eq!((&body["stream"], &body["ignore_eos"]), (&true.into(), &true.into()));
        assert_eq!(body["max_tokens"], 7);
        assert_eq!(body["messages"][0]["content"].as_str().unwrap().len(), 80);
        let plain = RequestShape { model: None, stream: false, fields: Map::new(), ..shape };
        let body = parsed(&Bodies::new(&plain).ready(0));
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["max_tokens", "messages"]);
    }

    #[test]
    fn prompts_take_turns_and_differ_from_their_beginning() {
        let bodies = Bodies::new(&shape());
        assert_eq!(bodies.ready(1), bodies.ready(4));
        assert_ne!(content(&bodies.ready(0))[..16], content(&bodies.ready(1))[..16]);
    }

    fn recorded(input_tokens: u32, blocks: &[u64]) -> Entry {
        let blocks = blocks.to_vec();
        Entry {
            at: Duration::ZERO,
            input_tokens,
            output_tokens: 3,
            blocks,
            block_tokens: None,
            session: None,
            delay: None,
            max_tokens: None,
        }
    }

    #[test]
    fn recorded_prompts_share_the_blocks_that_their_ids_share() {
        let bodies = Bodies::new(&shape());
        let prompt = |number, blocks: &[u64]| {
            let body = bodies.of_trace(number, &recorded(1100, blocks));
            assert_eq!(parsed(&body)["max_tokens"], 3);
            content(&body)
        };
        let (one, other) = (prompt(0, &[0, 5, 6]), prompt(1, &[0, 5, 7]));
        assert_eq!(one.len(), 4400);
        assert_eq!(one[..4096], other[..4096]);
        assert_ne!(one[4096..], other[4096..]);
        assert_ne!(prompt(0, &[]), prompt(1, &[]));
    }

    #[test]
    fn prompts_of_token_ids_share_blocks_of_the_size_of_the_trace() {
        let shape = RequestShape { token_ids_below: Some(2000), trace_block_tokens: 32, ..shape() };
        let bodies = Bodies::new(&shape);
        let ids = |body: &Bytes| serde_json::from_value::<Vec<u32>>(parsed(body)["prompt"].take()).unwrap();
        let prompt = |number, blocks: &[u64]| ids(&bodies.of_trace(number, &recorded(70, blocks)));
        let (one, other) = (prompt(0, &[0, 5, 6]), prompt(1, &[0, 5, 7]));
        assert_eq!(one.len(), 70);
        assert_eq!(one[..64], other[..64]);
        assert_ne!(one[64..], other[64..]);
        assert!(one.iter().all(|id| (FIRST_TOKEN_ID..2000).contains(id)));
        assert_ne!(prompt(0, &[]), prompt(1, &[]));
        let ready = bodies.ready(0);
        assert_eq!((ids(&ready).len(), &parsed(&ready)["max_tokens"]), (20, &7.into()));
        let none = Bodies::new(&RequestShape { prompt_tokens: 0, ..shape });
        assert_eq!(parsed(&none.ready(0))["prompt"], Value::from(Vec::<u32>::new()));
    }
}
