//! What is sent: chat requests, rendered before the run or, for a trace, from ready-made text.
//!
//! A token is taken to be four bytes of text, as the simulated worker takes it and as is usual for
//! English; a real tokenizer will count somewhat differently.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use crate::load::trace_entry::Entry;

/// Bytes of prompt text per token.
const BYTES_PER_TOKEN: usize = 4;
/// Prompt tokens per block id of a trace.
const TOKENS_PER_BLOCK: usize = 512;
const BYTES_PER_BLOCK: usize = TOKENS_PER_BLOCK * BYTES_PER_TOKEN;
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
        // These two are written by hand.
        fields.remove("messages");
        fields.remove("max_tokens");
        let object = Value::Object(fields).to_string();
        let own = object.strip_suffix('}').unwrap_or_default();
        let comma = if own.len() > 1 { "," } else { "" };
        let head = format!(r#"{own}{comma}"messages":[{{"role":"user","content":""#);
        let mut bodies = Self {
            head: Bytes::from(head),
            middle: Bytes::from_static(br#""}],"max_tokens":"#),
            filler: filler(),
            ready: Vec::new(),
            stream: shape.stream,
        };
        let bytes = bytes_of(shape.prompt_tokens);
        bodies.ready = (0..u64::from(shape.prompts.max(1)))
            .map(|prompt| {
                bodies
                    .render(shape.output_tokens, bytes, |out| bodies.push_text(out, OWN_IDS + prompt, bytes))
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

    /// The body of a recorded request. The same block id gives the same text, so that prompts share
    /// the prefixes that they shared when they were recorded.
    pub(crate) fn of_trace(&self, number: u64, entry: &Entry) -> Bytes {
        let bytes = bytes_of(entry.input_tokens);
        self.render(entry.output_tokens, bytes, |out| {
            let mut left = bytes;
            for id in &entry.blocks {
                let length = left.min(BYTES_PER_BLOCK);
                self.push_text(out, *id, length);
                left -= length;
            }
            // Without ids, or with too few of them, no other prompt has the rest.
            self.push_text(out, OWN_IDS + number, left);
        })
    }

    /// Whether answers are streamed.
    pub(crate) fn stream(&self) -> bool {
        self.stream
    }

    fn render(&self, max_tokens: u32, text_bytes: usize, text: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut out = BytesMut::with_capacity(self.head.len() + text_bytes + self.middle.len() + 12);
        out.put_slice(&self.head);
        text(&mut out);
        out.put_slice(&self.middle);
        out.put_slice(max_tokens.to_string().as_bytes());
        out.put_u8(b'}');
        out.freeze()
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

fn bytes_of(tokens: u32) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN)
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

    #[test]
    fn recorded_prompts_share_the_blocks_that_their_ids_share() {
        let bodies = Bodies::new(&shape());
        let prompt = |number, blocks: &[u64]| {
            let blocks = blocks.to_vec();
            let entry = Entry {
                at: Duration::ZERO,
                input_tokens: 1100,
                output_tokens: 3,
                blocks,
                session: None,
                delay: None,
            };
            let body = bodies.of_trace(number, &entry);
            assert_eq!(parsed(&body)["max_tokens"], 3);
            content(&body)
        };
        let (one, other) = (prompt(0, &[0, 5, 6]), prompt(1, &[0, 5, 7]));
        assert_eq!(one.len(), 4400);
        assert_eq!(one[..4096], other[..4096]);
        assert_ne!(one[4096..], other[4096..]);
        assert_ne!(prompt(0, &[]), prompt(1, &[]));
    }
}
