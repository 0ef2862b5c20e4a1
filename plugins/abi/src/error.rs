//! What can be wrong with a message.

use core::fmt;

use crate::kind::Kind;
use crate::names::MAX_RESULT_BYTES;

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
///
/// Three bytes, so that passing one up costs a guest hardly any code; with texts
/// and counts inside, plugins were a twentieth larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a value, or a claimed length is longer than what is left.
    Truncated,
    /// A value of another type.
    WrongType {
        /// What the message has in this place.
        expected: Expected,
        /// What was there.
        found: Kind,
    },
    /// An integer or a count that the place cannot hold.
    OutOfRange {
        /// What the message has in this place.
        expected: Expected,
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
    TrailingBytes,
    /// A map or array without an entry that it must have.
    Missing {
        /// The entry.
        key: Key,
    },
    /// A message longer than [`MAX_RESULT_BYTES`](crate::MAX_RESULT_BYTES).
    TooLarge,
    /// A text that is none of the words that the entry knows.
    UnknownWord {
        /// The entry.
        key: Key,
    },
}

/// What a message has in some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// An array.
    Array,
    /// A map.
    Map,
    /// An integer that is not negative.
    Uint,
    /// An integer of either sign.
    Int,
    /// An integer or a float.
    Number,
    /// A boolean.
    Bool,
    /// A text.
    Str,
    /// Bytes.
    Bin,
    /// An index, nil, an array of index, tag and cost, or the map of [`AnswerMap`](crate::AnswerMap).
    Answer,
    /// Two indices, nil, or the map of [`PairMap`](crate::PairMap).
    Pair,
    /// A version, status or count of 16 or 32 bits.
    Small,
    /// A cost: from 0.0 to [`MAX_COST`](crate::MAX_COST).
    Cost,
    /// A place in a queue: any number but NaN.
    WaitKey,
}

impl Expected {
    /// For messages for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Uint => "an unsigned integer",
            Self::Int => "an integer",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Str => "a text",
            Self::Bin => "bytes",
            Self::Answer => "an index, nil, an array of index, tag and cost, or a map",
            Self::Pair => "two indices, nil or a map",
            Self::Small => "a small unsigned integer",
            Self::Cost => "a cost (a number from 0 to 2^36)",
            Self::WaitKey => "a key of `wait` (a number that is not NaN)",
        }
    }
}

/// An entry that a message must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// `version` of a worker table.
    Version,
    /// `workers` of a worker table or a row message.
    Workers,
    /// `url` of a worker.
    Url,
    /// `healthy` of a worker.
    Healthy,
    /// `role` of a worker.
    Role,
    /// The entries of a completion batch, or the fields of one.
    Completion,
    /// An entry of `on_first_token`.
    FirstToken,
    /// The list of `on_session_end`.
    SessionEnd,
}

impl Key {
    /// The entry's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Workers => "workers",
            Self::Url => "url",
            Self::Healthy => "healthy",
            Self::Role => "role",
            Self::Completion => "completion",
            Self::FirstToken => "first token",
            Self::SessionEnd => "sessions",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("message ends too early"),
            Self::WrongType { expected, found } => {
                write!(f, "expected {}, found {}", expected.name(), found.name())
            }
            Self::OutOfRange { expected } => write!(f, "out of range for {}", expected.name()),
            Self::TooDeep => f.write_str("values are nested too deeply"),
            Self::NotUtf8 => f.write_str("text is not utf-8"),
            Self::Unsupported { marker } => write!(f, "unsupported marker byte {marker:#04x}"),
            Self::TrailingBytes => f.write_str("bytes after the end of the message"),
            Self::Missing { key } => write!(f, "`{}` is missing", key.name()),
            Self::TooLarge => write!(f, "message is longer than {MAX_RESULT_BYTES} bytes"),
            Self::UnknownWord { key } => write!(f, "unknown word in `{}`", key.name()),
        }
    }
}

impl core::error::Error for DecodeError {}
