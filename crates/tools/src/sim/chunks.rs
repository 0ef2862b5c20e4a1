//! Streamed answers: one server-sent event per token and choice. What does not change from chunk
//! to chunk is written once per stream.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::sim::conversation::{end_events, token_events};
use crate::sim::generation::{Format, GenerationPlan};
use crate::sim::json::push_u64;
use crate::sim::wording::{Wording, push_usage};

const DONE: &[u8] = b"data: [DONE]\n\n";
/// Chunks share buffers of this size.
const BUFFER_BYTES: usize = 4096;

/// Writes the chunks of one stream.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    format: Format,
    generation: GenerationPlan,
    include_usage: bool,
    wording: Arc<Wording>,
    /// `data: ` and the head of every OpenAI chunk, up to the index of the choice.
    head: Bytes,
    /// Text and ids so far of each choice: SGLang repeats both in every chunk.
    so_far: Vec<(BytesMut, BytesMut)>,
    out: BytesMut,
}

impl ChunkWriter {
    pub(crate) fn new(
        format: Format,
        generation: GenerationPlan,
        include_usage: bool,
        wording: Arc<Wording>,
    ) -> Self {
        let mut out = BytesMut::with_capacity(BUFFER_BYTES);
        let (id, object) = if format == Format::Chat {
            ("chatcmpl-", "chat.completion.chunk")
        } else {
            ("cmpl-", "text_completion")
        };
        out.put_slice(b"data: ");
        wording.push_head(&mut out, &generation, id, object);
        out.put_slice(br#""choices":["#);
        let head = out.split().freeze();
        let so_far = match format {
            Format::Generate | Format::GenerateBatch => {
                (0..generation.choices).map(|_| Default::default()).collect()
            }
            _ => Vec::new(),
        };
        Self { format, generation, include_usage, wording, head, so_far, out }
    }

    /// The events of one token of every choice.
    pub(crate) fn token(&mut self, index: u32) -> Bytes {
        if self.format.names_events() {
            let (id, model) = (self.wording.id(&self.generation), self.wording.model());
            return token_events(&self.generation, self.format, id, model, index);
        }
        if self.so_far.is_empty() {
            for choice in 0..self.generation.choices {
                if self.format == Format::Chat {
                    self.push_chat_token(choice, index);
                } else {
                    self.push_completion_token(choice, index);
                }
            }
        } else {
            self.push_generated(index);
        }
        self.out.split().freeze()
    }

    /// The events after the last token.
    pub(crate) fn end(&mut self) -> Bytes {
        if self.format.names_events() {
            let (id, model) = (self.wording.id(&self.generation), self.wording.model());
            return end_events(&self.generation, self.format, id, model);
        }
        if self.so_far.is_empty() {
            for choice in 0..self.generation.choices {
                let empty: &[u8] =
                    if self.format == Format::Chat { br#","delta":{}"# } else { br#","text":"""# };
                self.open_choice(choice, empty);
                self.out.put_slice(br#","logprobs":null,"finish_reason":""#);
                self.out.put_slice(self.generation.finish.as_str().as_bytes());
                self.out.put_u8(b'"');
                self.close_choice();
            }
            if self.include_usage {
                self.out.put_slice(&self.head);
                self.out.put_slice(b"],");
                push_usage(&mut self.out, &self.generation);
                self.out.put_slice(b"}\n\n");
            }
        }
        self.out.put_slice(DONE);
        self.out.split().freeze()
    }

    fn push_chat_token(&mut self, choice: u32, index: u32) {
        // OpenAI names the role once, in a chunk of its own before the first token.
        if index == 0 {
            self.open_choice(choice, br#","delta":{"role":"assistant","content":""}"#);
            self.out.put_slice(br#","logprobs":null,"finish_reason":null"#);
            self.close_choice();
        }
        self.open_choice(choice, br#","delta":{"content":""#);
        self.generation.push_token(&mut self.out, choice, index);
        self.out.put_slice(br#""},"logprobs":null,"finish_reason":null"#);
        self.close_choice();
    }

    fn push_completion_token(&mut self, choice: u32, index: u32) {
        self.open_choice(choice, br#","text":""#);
        self.generation.push_token(&mut self.out, choice, index);
        self.out.put_slice(br#"","logprobs":null,"finish_reason":null"#);
        self.close_choice();
    }

    fn open_choice(&mut self, choice: u32, then: &[u8]) {
        self.out.put_slice(&self.head);
        self.out.put_slice(br#"{"index":"#);
        push_u64(&mut self.out, u64::from(choice));
        self.out.put_slice(then);
    }

    fn close_choice(&mut self) {
        let end: &[u8] = if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" };
        self.out.put_slice(end);
    }

    fn push_generated(&mut self, index: u32) {
        for (choice, (text, ids)) in (0..).zip(&mut self.so_far) {
            self.generation.push_token(text, choice, index);
            self.generation.push_id(ids, choice, index);
            self.out.put_slice(br#"data: {"text":""#);
            self.out.put_slice(text);
            self.out.put_slice(br#"","output_ids":["#);
            self.out.put_slice(ids);
            self.out.put_slice(b"],");
            self.wording.push_meta(&mut self.out, &self.generation, choice, index + 1);
            if self.format == Format::GenerateBatch {
                self.out.put_slice(br#","index":"#);
                push_u64(&mut self.out, u64::from(choice));
            }
            self.out.put_slice(b"}\n\n");
        }
    }
}
