//! Free-form values: a plugin's configuration and state.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{DecodeError, Expected, Full};
use crate::reader::{MAX_DEPTH, Reader, text};
use crate::token::Token;
use crate::writer::Writer;

/// A map with text keys, in the order in which it was written.
///
/// A list, not a hash map: configurations have a handful of keys and guests pay
/// for every byte of code. A repeated key keeps its first value.
pub type Map = Vec<(String, Value)>;

/// A value of any shape, as JSON has them, and bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer up to `i64::MAX`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// A float.
    Float(f64),
    /// A text.
    Str(String),
    /// Bytes.
    Bin(Vec<u8>),
    /// A list.
    Array(Vec<Self>),
    /// A map with text keys.
    Map(Map),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it is one and not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::Uint(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, integer or float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The entries, if it is a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`, if this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        lookup(self.as_map()?, key)
    }

    /// Writes the value.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        match self {
            Self::Nil => w.nil(),
            Self::Bool(value) => w.bool(*value),
            Self::Int(value) => w.int(*value),
            Self::Uint(value) => w.uint(*value),
            Self::Float(value) => w.f64(*value),
            Self::Str(text) => w.str(text),
            Self::Bin(bytes) => {
                w.bin(bytes.len())?.copy_from_slice(bytes);
                Ok(())
            }
            Self::Array(items) => {
                w.array(items.len())?;
                items.iter().try_for_each(|item| item.encode(w))
            }
            Self::Map(entries) => encode_map(entries, w),
        }
    }

    /// Reads one value.
    ///
    /// # Errors
    /// Malformed bytes, a map key that is not a text, or more than [`MAX_DEPTH`] levels.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode_within(r, MAX_DEPTH)
    }

    fn decode_within(r: &mut Reader<'_>, depth: u32) -> Result<Self, DecodeError> {
        let nested = || depth.checked_sub(1).ok_or(DecodeError::TooDeep);
        Ok(match r.token()? {
            Token::Nil => Self::Nil,
            Token::Bool(value) => Self::Bool(value),
            Token::Int(value) => Self::Int(value),
            Token::Uint(value) => i64::try_from(value).map_or(Self::Uint(value), Self::Int),
            Token::Float(value) => Self::Float(value),
            Token::Str(len) => Self::Str(String::from(text(r.take(len)?)?)),
            Token::Bin(len) => Self::Bin(Vec::from(r.take(len)?)),
            Token::Array(count) => {
                let depth = nested()?;
                let mut items = Vec::new();
                // Grows as items arrive; the claimed count reserves nothing.
                for _ in 0..r.counted(count, 1)? {
                    items.push(Self::decode_within(r, depth)?);
                }
                Self::Array(items)
            }
            Token::Map(count) => Self::Map(decode_entries(r, count, nested()?)?),
            Token::Other(marker) => return Err(DecodeError::Unsupported { marker }),
        })
    }
}

/// The value of `key` in `entries`.
pub(crate) fn lookup<'a>(entries: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// Writes a map with text keys.
pub(crate) fn encode_map(entries: &[(String, Value)], w: &mut Writer<'_>) -> Result<(), Full> {
    w.map(entries.len())?;
    entries.iter().try_for_each(|(key, value)| {
        w.str(key)?;
        value.encode(w)
    })
}

/// Reads a map with text keys; nil is an empty one.
pub(crate) fn decode_map(r: &mut Reader<'_>) -> Result<Map, DecodeError> {
    match r.token()? {
        Token::Nil => Ok(Map::new()),
        Token::Map(count) => decode_entries(r, count, MAX_DEPTH - 1),
        other => Err(other.mismatch(Expected::Map)),
    }
}

fn decode_entries(r: &mut Reader<'_>, count: usize, depth: u32) -> Result<Map, DecodeError> {
    let mut entries = Map::new();
    for _ in 0..r.counted(count, 2)? {
        let key = String::from(r.str()?);
        entries.push((key, Value::decode_within(r, depth)?));
    }
    Ok(entries)
}
