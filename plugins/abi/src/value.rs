//! Free-form values: a plugin's configuration and state.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::error::Full;
use crate::reader::Kind;
use crate::reader::MAX_DEPTH;
use crate::reader::Reader;
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
        match r.kind()? {
            Kind::Nil => {
                r.nil();
                Ok(Self::Nil)
            }
            Kind::Bool => r.bool().map(Self::Bool),
            Kind::Int => {
                // Above `i64::MAX` only the unsigned reading succeeds.
                let mut signed = *r;
                if let Ok(value) = signed.int() {
                    *r = signed;
                    return Ok(Self::Int(value));
                }
                r.uint().map(Self::Uint)
            }
            Kind::Float => r.number().map(Self::Float),
            Kind::Str => Ok(Self::Str(String::from(r.str()?))),
            Kind::Bin => Ok(Self::Bin(Vec::from(r.bin()?))),
            Kind::Array => {
                let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
                let len = r.array()?;
                (0..len).map(|_| Self::decode_within(r, depth)).collect::<Result<_, _>>().map(Self::Array)
            }
            Kind::Map => {
                let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
                decode_entries(r, depth).map(Self::Map)
            }
            Kind::Other => r.skip().map(|()| Self::Nil),
        }
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
    if r.nil() { Ok(Map::new()) } else { decode_entries(r, MAX_DEPTH - 1) }
}

fn decode_entries(r: &mut Reader<'_>, depth: u32) -> Result<Map, DecodeError> {
    let len = r.map()?;
    // `collect` grows as entries arrive; the claimed length reserves nothing.
    (0..len).map(|_| Ok((String::from(r.str()?), Value::decode_within(r, depth)?))).collect()
}
