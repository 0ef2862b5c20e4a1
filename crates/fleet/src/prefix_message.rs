//! What a router tells the others of prompts that it sent to workers.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message_number::MessageNumber;

/// The form of messages. One of a later form is left out.
const FORM: u32 = 1;

/// Largest message that is read, in bytes; what is written is smaller, by the bound on what is said a second.
pub(crate) const MAX_MESSAGE_BYTES: usize = 768 << 10;

/// What a router sent lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixMessage {
    /// [`FORM`].
    v: u32,
    /// A random name of the process.
    life: u64,
    /// Which of its messages it is.
    number: u64,
    /// How hashes are made: those of another rule mean nothing here.
    rule: u64,
    /// What was sent.
    pub(crate) sent: Vec<SentPrefix>,
}

/// A prompt that was sent to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentPrefix {
    /// URL of the worker.
    pub worker: String,
    /// Hashes of its blocks from the first on, each of which stands for those before it too.
    #[serde(serialize_with = "write_blocks", deserialize_with = "read_blocks")]
    pub blocks: Vec<u64>,
}

impl PrefixMessage {
    /// Of hashes by this rule.
    pub(crate) fn new(which: MessageNumber, rule: u64, sent: Vec<SentPrefix>) -> Self {
        Self { v: FORM, life: which.life, number: which.number, rule, sent }
    }

    /// Reads one. `None` if it is none, or of another form.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        if payload.len() > MAX_MESSAGE_BYTES {
            return None;
        }
        serde_json::from_slice(payload).ok().filter(|message: &Self| message.v == FORM)
    }

    /// Which one it is.
    pub(crate) fn which(&self) -> MessageNumber {
        MessageNumber { life: self.life, number: self.number }
    }

    /// True if its hashes are made by this rule.
    pub(crate) fn is_by(&self, rule: u64) -> bool {
        self.rule == rule
    }
}

impl SentPrefix {
    /// Bytes that it takes in a message, roughly: four for every three of its hashes.
    pub(crate) fn bytes(&self) -> usize {
        (self.blocks.len() * size_of::<u64>()).div_ceil(3) * 4 + self.worker.len() + 28
    }
}

fn write_blocks<S: Serializer>(blocks: &[u64], to: S) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = blocks.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    to.serialize_str(&BASE64_STANDARD_NO_PAD.encode(bytes))
}

fn read_blocks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    let bytes = BASE64_STANDARD_NO_PAD.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
    let (hashes, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(serde::de::Error::custom("a hash has 8 bytes"));
    }
    Ok(hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sent: Vec<SentPrefix>) -> PrefixMessage {
        PrefixMessage::new(MessageNumber { life: 7, number: 3 }, 9, sent)
    }

    #[test]
    fn what_is_written_is_read_again_and_takes_as_much_as_is_said() {
        let blocks = |count: u64| (0..count).map(|hash| hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let sent: Vec<SentPrefix> = [0, 1, 2, 3, 500]
            .map(|count| SentPrefix { worker: "http://10.0.0.1:30000".to_owned(), blocks: blocks(count) })
            .into();
        let all: usize = sent.iter().map(SentPrefix::bytes).sum();
        let message = message(sent);
        let text = serde_json::to_vec(&message).unwrap();
        assert!(text.len() <= all + 80, "{} of {all}", text.len());
        let read = PrefixMessage::read(&text).unwrap();
        assert!(read.is_by(9) && !read.is_by(8));
        assert_eq!((read.which(), &read), (MessageNumber { life: 7, number: 3 }, &message));
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        let good = r#"{"v":1,"life":1,"number":1,"rule":1,"sent":[{"worker":"w","blocks":"AQAAAAAAAAA"}]}"#;
        assert_eq!(PrefixMessage::read(good.as_bytes()).unwrap().sent[0].blocks, [1]);
        for (from, to) in [
            (r#""v":1"#, r#""v":2"#),
            ("AQAAAAAAAAA", "AQAAAAAAAA"),
            ("AQAAAAAAAAA", "?QAAAAAAAAA"),
            (r#""AQAAAAAAAAA""#, "1"),
            (r#""life":1"#, r#""life":-1"#),
            ("}]}", "}]"),
        ] {
            assert!(PrefixMessage::read(good.replace(from, to).as_bytes()).is_none(), "{to}");
        }
        let large = good.replacen('{', &format!("{{{}", " ".repeat(MAX_MESSAGE_BYTES)), 1);
        assert!(PrefixMessage::read(large.as_bytes()).is_none(), "too large");
    }
}
