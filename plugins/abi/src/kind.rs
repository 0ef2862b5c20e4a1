//! The types that MessagePack values have.

/// The type of the next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nil.
    Nil,
    /// A boolean.
    Bool,
    /// An integer of any width and sign.
    Int,
    /// A float of either width.
    Float,
    /// A text.
    Str,
    /// Bytes.
    Bin,
    /// An array.
    Array,
    /// A map.
    Map,
    /// An extension value or the unused marker.
    Other,
}

impl Kind {
    /// The type's name in messages for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Str => "a text",
            Self::Bin => "bytes",
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Other => "an extension",
        }
    }

    pub(crate) const fn of(marker: u8) -> Self {
        match marker {
            0x00..=0x7f | 0xcc..=0xd3 | 0xe0..=0xff => Self::Int,
            0x80..=0x8f | 0xde | 0xdf => Self::Map,
            0x90..=0x9f | 0xdc | 0xdd => Self::Array,
            0xa0..=0xbf | 0xd9..=0xdb => Self::Str,
            0xc0 => Self::Nil,
            0xc2 | 0xc3 => Self::Bool,
            0xc4..=0xc6 => Self::Bin,
            0xca | 0xcb => Self::Float,
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Self::Other,
        }
    }
}
