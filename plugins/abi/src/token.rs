//! What stands before a value: its length, or all of it.

use crate::error::{DecodeError, Expected};
use crate::kind::Kind;

/// A value's head: all of a scalar, the length of anything else.
#[derive(Clone, Copy)]
pub(crate) enum Token {
    Nil,
    Bool(bool),
    /// Not negative.
    Uint(u64),
    /// A signed form, which may hold a value that is not negative.
    Int(i64),
    Float(f64),
    Str(usize),
    Bin(usize),
    Array(usize),
    Map(usize),
    Other(u8),
}

impl Token {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Nil => Kind::Nil,
            Self::Bool(_) => Kind::Bool,
            Self::Uint(_) | Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Str(_) => Kind::Str,
            Self::Bin(_) => Kind::Bin,
            Self::Array(_) => Kind::Array,
            Self::Map(_) => Kind::Map,
            Self::Other(_) => Kind::Other,
        }
    }

    #[cold]
    pub(crate) const fn mismatch(self, expected: Expected) -> DecodeError {
        match self {
            Self::Other(marker) => DecodeError::Unsupported { marker },
            _ => DecodeError::WrongType { expected, found: self.kind() },
        }
    }
}
