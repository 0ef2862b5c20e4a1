//! Fields of requests that have more than one form on the wire. Plain strings are borrowed from
//! the body where JSON allows it.

use std::borrow::Cow;
use std::fmt;

use http::HeaderValue;
use serde::{Deserialize, Deserializer, de};

use crate::sim::error::ApiError;
use crate::sim::prompt_reader::{Hashing, PromptReader, PromptShape};

/// A string.
#[derive(Debug, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Content of a chat message: a string, null, or a list of parts, whose texts are joined.
#[derive(Debug, Default)]
pub(crate) struct Content<'a>(pub(crate) Cow<'a, str>);

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> de::Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, null or a list of content parts")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut joined = String::new();
                while let Some(part) = seq.next_element::<Part<'de>>()? {
                    // A part without text is an image or a sound: it has no words to count.
                    joined.push_str(part.text.as_ref().map_or("", |text| text.0.as_ref()));
                }
                Ok(Content(Cow::Owned(joined)))
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

/// A prompt: one text, or a list of texts, of token ids, or of lists of token ids.
#[derive(Debug)]
pub(crate) enum PromptField<'a> {
    /// One text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<PromptItem<'a>>),
}

/// An element of a list of prompts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum PromptItem<'a> {
    /// A token id.
    Id(u32),
    /// A prompt.
    #[serde(borrow)]
    Text(Text<'a>),
    /// A prompt as token ids.
    Ids(Vec<u32>),
}

impl<'de: 'a, 'a> Deserialize<'de> for PromptField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptVisitor;

        impl<'de> de::Visitor<'de> for PromptVisitor {
            type Value = PromptField<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of strings, or token ids")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(PromptField::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(PromptField::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(PromptField::List(items))
            }
        }

        deserializer.deserialize_any(PromptVisitor)
    }
}

impl PromptField<'_> {
    /// True for a list of prompts, false for one prompt, be it text or token ids.
    pub(crate) fn is_batch(&self) -> bool {
        matches!(self, Self::List(items) if !matches!(items.first(), Some(PromptItem::Id(_))))
    }

    /// Reads every prompt.
    ///
    /// # Errors
    /// `param` is to blame if the list is empty or mixes token ids with prompts.
    pub(crate) fn read(&self, param: &'static str, hashing: Hashing) -> Result<Vec<PromptShape>, ApiError> {
        let items = match self {
            Self::Text(text) => return Ok(vec![read_text(text, hashing)]),
            Self::List(items) => items,
        };
        if items.is_empty() {
            return Err(ApiError::parameter(param, format!("`{param}` is an empty list")));
        }
        if !self.is_batch() {
            let mut reader = PromptReader::new(hashing);
            for item in items {
                let PromptItem::Id(id) = item else {
                    return Err(mixed(param));
                };
                reader.push_id(*id);
            }
            return Ok(vec![reader.finish()]);
        }
        items
            .iter()
            .map(|item| match item {
                PromptItem::Text(text) => Ok(read_text(&text.0, hashing)),
                PromptItem::Ids(ids) => {
                    let mut reader = PromptReader::new(hashing);
                    ids.iter().for_each(|id| reader.push_id(*id));
                    Ok(reader.finish())
                }
                PromptItem::Id(_) => Err(mixed(param)),
            })
            .collect()
    }
}

fn mixed(param: &'static str) -> ApiError {
    let message = format!("`{param}` mixes token ids with prompts: send either");
    ApiError::parameter(param, message)
}

fn read_text(text: &str, hashing: Hashing) -> PromptShape {
    let mut reader = PromptReader::new(hashing);
    reader.push(text.as_bytes());
    reader.finish()
}

/// SGLang's `bootstrap_room`: where prefill and decode worker of one request meet. A list for a
/// batch. (`bootstrap_host` and `bootstrap_port` are read over: nothing is transferred here.)
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum BootstrapRoom {
    /// For one request.
    One(u64),
    /// For each prompt of a batch.
    Many(Vec<u64>),
}

impl BootstrapRoom {
    /// The room as a header, a list with commas.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        match self {
            Self::One(room) => Some(HeaderValue::from(*room)),
            Self::Many(rooms) => {
                let rooms: Vec<String> = rooms.iter().map(u64::to_string).collect();
                HeaderValue::try_from(rooms.join(",")).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(json: &str) -> Result<Vec<u32>, ApiError> {
        let field: PromptField<'_> = serde_json::from_str(json).unwrap();
        let prompts = field.read("prompt", Hashing::Off)?;
        Ok(prompts.iter().map(|prompt| prompt.tokens).collect())
    }

    #[test]
    fn prompt_has_four_forms() {
        assert_eq!(prompts(r#""12345678""#).unwrap(), [2]);
        assert_eq!(prompts(r#"["1234", "12345678"]"#).unwrap(), [1, 2]);
        assert_eq!(prompts("[1, 2, 3]").unwrap(), [3]);
        assert_eq!(prompts("[[1, 2, 3], [4]]").unwrap(), [3, 1]);
    }

    #[test]
    fn prompt_list_that_is_empty_or_mixed_is_refused() {
        for json in ["[]", r#"[1, "a"]"#, r#"["a", 1]"#] {
            assert_eq!(prompts(json).unwrap_err().status, http::StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn content_borrows_plain_text_and_joins_parts() {
        let plain: Content<'_> = serde_json::from_str(r#""hello""#).unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("hello")));
        let escaped: Content<'_> = serde_json::from_str(r#""a\nb""#).unwrap();
        assert_eq!(escaped.0, "a\nb");
        let parts = r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{}},
            {"type":"text","text":"b"}]"#;
        assert_eq!(serde_json::from_str::<Content<'_>>(parts).unwrap().0, "ab");
        assert_eq!(serde_json::from_str::<Content<'_>>("null").unwrap().0, "");
    }

    #[test]
    fn room_is_sent_back_as_it_came() {
        let header = |json| serde_json::from_str::<BootstrapRoom>(json).unwrap().to_header().unwrap();
        assert_eq!(header("9223372036854775807"), "9223372036854775807");
        assert_eq!(header("[1,2]"), "1,2");
    }
}
