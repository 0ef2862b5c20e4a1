//! What can be wrong with a message.

use core::fmt;

use crate::kind::Kind;

/// A message does not fit into the buffer that a [`Writer`](crate::Writer) was given.
///
/// The caller grows the buffer and encodes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("message does not fit into the buffer")
    }
}

impl core::error::Error for Full {}

/// Why bytes are not the message that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a value, or a claimed length is longer than what is left.
    Truncated,
    /// A value of another type.
    WrongType {
        /// What the message has in this place.
        expected: &'static str,
        /// What was there.
        found: Kind,
    },
    /// An integer that the field cannot hold.
    OutOfRange {
        /// What the message has in this place.
        expected: &'static str,
    },
    /// Values nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    TooDeep,
    /// A string that is not UTF-8.
    NotUtf8,
    /// The byte `0xc1`, which MessagePack never uses, or an extension value.
    Unsupported {
        /// The first byte of the value.
        marker: u8,
    },
    /// Bytes after the end of the message.
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A map or array without an entry that it must have.
    Missing {
        /// The entry's name.
        key: &'static str,
    },
    /// A message longer than its limit.
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A text that is none of the words that the field knows.
    UnknownWord {
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("message ends too early"),
            Self::WrongType { expected, found } => {
                write!(f, "expected {expected}, found {}", found.name())
            }
            Self::OutOfRange { expected } => write!(f, "integer out of range for {expected}"),
            Self::TooDeep => f.write_str("values are nested too deeply"),
            Self::NotUtf8 => f.write_str("text is not utf-8"),
            Self::Unsupported { marker } => write!(f, "unsupported marker byte {marker:#04x}"),
            Self::TrailingBytes { count } => {
                write!(f, "{count} bytes after the end of the message")
            }
            Self::Missing { key } => write!(f, "`{key}` is missing"),
            Self::TooLarge { len, limit } => {
                write!(f, "message has {len} bytes, the limit is {limit}")
            }
            Self::UnknownWord { field } => write!(f, "unknown word in `{field}`"),
        }
    }
}

impl core::error::Error for DecodeError {}
