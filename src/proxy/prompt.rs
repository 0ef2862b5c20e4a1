//! The prompt of a request: text that is borrowed from the body where that is possible, and
//! token ids.

use std::borrow::Cow;
use std::fmt;

use serde::de::Deserialize;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

/// What is between two pieces of text: messages, parts of a message, prompts of a batch.
const SEPARATOR: char = '\n';

/// A string of a JSON body: borrowed unless it has escapes.
#[derive(Debug)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// What was found of a prompt so far.
#[derive(Debug, Default)]
pub(crate) struct Prompt<'a> {
    /// `None` until the first piece of text.
    pub(crate) text: Option<Cow<'a, str>>,
    /// Token ids, one prompt after the other.
    pub(crate) tokens: Vec<u32>,
    /// How many prompts there are, if the request has a list of them.
    pub(crate) batch: Option<usize>,
}

impl<'a> Prompt<'a> {
    /// Adds a piece of text. A single piece stays borrowed.
    pub(crate) fn push(&mut self, piece: Cow<'a, str>) {
        match &mut self.text {
            None => self.text = Some(piece),
            Some(text) => {
                let text = text.to_mut();
                text.push(SEPARATOR);
                text.push_str(&piece);
            }
        }
    }
}

/// Reads `prompt`, `input`, `text` or `input_ids`: a string, strings, token ids, or lists of
/// token ids. Anything else in the list is skipped.
pub(crate) struct PromptSeed<'p, 'a>(pub(crate) &'p mut Prompt<'a>);

impl<'de> DeserializeSeed<'de> for PromptSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PromptSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prompt: text, token ids, or a list of them")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.0.push(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut prompts = 0;
        while let Some(is_prompt) = items.next_element_seed(ItemSeed(self.0))? {
            prompts += usize::from(is_prompt);
        }
        if prompts > 0 {
            self.0.batch = Some(prompts);
        }
        Ok(())
    }
}

/// One item of a list of prompts; true if it is a whole prompt, false if it is a token id.
struct ItemSeed<'p, 'a>(&'p mut Prompt<'a>);

impl<'de> DeserializeSeed<'de> for ItemSeed<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prompt or a token id")
    }

    fn visit_u64<E>(self, token: u64) -> Result<bool, E> {
        self.0.tokens.push(u32::try_from(token).unwrap_or(u32::MAX));
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<bool, E> {
        self.0.push(Cow::Borrowed(text));
        Ok(true)
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        self.0.push(Cow::Owned(text.to_owned()));
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<bool, A::Error> {
        while let Some(token) = tokens.next_element::<u32>()? {
            self.0.tokens.push(token);
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(true)
    }
}

/// Reads `messages` of a chat: the text of every message's content.
pub(crate) struct MessagesSeed<'p, 'a>(pub(crate) &'p mut Prompt<'a>);

impl<'de> DeserializeSeed<'de> for MessagesSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MessagesSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while messages.next_element_seed(FieldSeed { prompt: self.0, field: "content" })?.is_some() {}
        Ok(())
    }
}

/// Reads one field of an object: `content` of a message, `text` of a part of it.
struct FieldSeed<'p, 'a> {
    prompt: &'p mut Prompt<'a>,
    field: &'static str,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.0 == self.field {
                map.next_value_seed(ContentSeed(self.prompt))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads a message's content: text, nothing, or a list of parts.
struct ContentSeed<'p, 'a>(&'p mut Prompt<'a>);

impl<'de> DeserializeSeed<'de> for ContentSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ContentSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of parts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.0.push(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        while parts.next_element_seed(FieldSeed { prompt: self.0, field: "text" })?.is_some() {}
        Ok(())
    }
}
