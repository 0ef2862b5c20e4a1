//! MessagePack out of a slice that nobody vouches for.

use crate::error::DecodeError;

/// Levels of arrays and maps that a free-form value may have.
///
/// Bounded because readers recurse and a guest's stack has only a few KiB.
pub const MAX_DEPTH: u32 = 32;

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

    #[inline]
    const fn of(marker: u8) -> Self {
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

/// Reads MessagePack values one after another; texts and bytes are borrowed.
///
/// It never panics and never allocates. A length is checked against the bytes
/// that are left before it is believed: an array of n elements needs n bytes, a
/// map of n entries 2n. After an error the position is unspecified.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

type Result<T> = core::result::Result<T, DecodeError>;

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that were not read yet.
    #[inline]
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Declares the message complete.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] if something is left.
    #[inline]
    pub const fn finish(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }

    /// The type of the next value, without reading it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    #[inline]
    pub fn kind(&self) -> Result<Kind> {
        let marker = self.rest.first().ok_or(DecodeError::Truncated)?;
        Ok(Kind::of(*marker))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    fn marker(&mut self) -> Result<u8> {
        let [marker] = self.fixed()?;
        Ok(marker)
    }

    #[inline]
    fn be8(&mut self) -> Result<usize> {
        Ok(usize::from(self.marker()?))
    }

    #[inline]
    fn be16(&mut self) -> Result<usize> {
        Ok(usize::from(u16::from_be_bytes(self.fixed()?)))
    }

    #[inline]
    fn be32(&mut self) -> Result<usize> {
        // Only a 16-bit target fails here, and there the bytes cannot exist.
        usize::try_from(u32::from_be_bytes(self.fixed()?)).map_err(|_| DecodeError::Truncated)
    }

    /// The header of an array: the number of elements that follow.
    ///
    /// # Errors
    /// Another type, or fewer bytes left than elements claimed.
    #[inline]
    pub fn array(&mut self) -> Result<usize> {
        let marker = self.marker()?;
        let len = match marker {
            0x90..=0x9f => usize::from(marker & 0x0f),
            0xdc => self.be16()?,
            0xdd => self.be32()?,
            _ => return Err(mismatch("an array", marker)),
        };
        if len > self.rest.len() { Err(DecodeError::Truncated) } else { Ok(len) }
    }

    /// The header of a map: the number of entries that follow.
    ///
    /// # Errors
    /// Another type, or fewer bytes left than the claimed entries need.
    #[inline]
    pub fn map(&mut self) -> Result<usize> {
        let marker = self.marker()?;
        let len = match marker {
            0x80..=0x8f => usize::from(marker & 0x0f),
            0xde => self.be16()?,
            0xdf => self.be32()?,
            _ => return Err(mismatch("a map", marker)),
        };
        if len > self.rest.len() / 2 { Err(DecodeError::Truncated) } else { Ok(len) }
    }

    /// An integer that is not negative.
    ///
    /// # Errors
    /// Another type, or a negative integer.
    #[inline]
    pub fn uint(&mut self) -> Result<u64> {
        let marker = self.marker()?;
        match marker {
            0x00..=0x7f => Ok(u64::from(marker)),
            0xcc => Ok(u64::from(self.marker()?)),
            0xcd => Ok(u64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => Ok(u64::from(u32::from_be_bytes(self.fixed()?))),
            0xcf => Ok(u64::from_be_bytes(self.fixed()?)),
            0xd0..=0xd3 | 0xe0..=0xff => u64::try_from(self.negative(marker)?)
                .map_err(|_| DecodeError::OutOfRange { expected: "an unsigned integer" }),
            _ => Err(mismatch("an unsigned integer", marker)),
        }
    }

    /// An integer of either sign.
    ///
    /// # Errors
    /// Another type, or an integer above `i64::MAX`.
    #[inline]
    pub fn int(&mut self) -> Result<i64> {
        let marker = self.marker()?;
        match marker {
            0x00..=0x7f => Ok(i64::from(marker)),
            0xcc => Ok(i64::from(self.marker()?)),
            0xcd => Ok(i64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => Ok(i64::from(u32::from_be_bytes(self.fixed()?))),
            0xcf => i64::try_from(u64::from_be_bytes(self.fixed()?))
                .map_err(|_| DecodeError::OutOfRange { expected: "an integer" }),
            _ => self.negative(marker),
        }
    }

    /// The signed forms, whose marker was read already.
    #[inline]
    fn negative(&mut self, marker: u8) -> Result<i64> {
        match marker {
            0xe0..=0xff => Ok(i64::from(marker.cast_signed())),
            0xd0 => Ok(i64::from(i8::from_be_bytes(self.fixed()?))),
            0xd1 => Ok(i64::from(i16::from_be_bytes(self.fixed()?))),
            0xd2 => Ok(i64::from(i32::from_be_bytes(self.fixed()?))),
            0xd3 => Ok(i64::from_be_bytes(self.fixed()?)),
            _ => Err(mismatch("an integer", marker)),
        }
    }

    /// A number: a float of either width, or an integer turned into one.
    ///
    /// # Errors
    /// Another type.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
    pub fn number(&mut self) -> Result<f64> {
        match self.rest.first() {
            Some(0xca) => {
                self.marker()?;
                Ok(f64::from(f32::from_be_bytes(self.fixed()?)))
            }
            Some(0xcb) => {
                self.marker()?;
                Ok(f64::from_be_bytes(self.fixed()?))
            }
            Some(0xcf) => Ok(self.uint()? as f64),
            Some(marker) if Kind::of(*marker) != Kind::Int => Err(mismatch("a number", *marker)),
            _ => Ok(self.int()? as f64),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// Another type.
    #[inline]
    pub fn bool(&mut self) -> Result<bool> {
        match self.marker()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            marker => Err(mismatch("a boolean", marker)),
        }
    }

    /// Reads nil if it is next; otherwise reads nothing and says false.
    #[inline]
    pub fn nil(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0xc0, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The bytes of a text, not checked to be UTF-8.
    ///
    /// # Errors
    /// Another type, or a text longer than what is left.
    #[inline]
    pub fn str_bytes(&mut self) -> Result<&'a [u8]> {
        let marker = self.marker()?;
        let len = match marker {
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => self.be8()?,
            0xda => self.be16()?,
            0xdb => self.be32()?,
            _ => return Err(mismatch("a text", marker)),
        };
        self.take(len)
    }

    /// A text.
    ///
    /// # Errors
    /// Another type, a text longer than what is left, or one that is not UTF-8.
    #[inline]
    pub fn str(&mut self) -> Result<&'a str> {
        core::str::from_utf8(self.str_bytes()?).map_err(|_| DecodeError::NotUtf8)
    }

    /// A text, or nil.
    ///
    /// # Errors
    /// As [`Reader::str`].
    #[inline]
    pub fn opt_str(&mut self) -> Result<Option<&'a str>> {
        if self.nil() { Ok(None) } else { self.str().map(Some) }
    }

    /// Bytes.
    ///
    /// # Errors
    /// Another type, or more bytes than are left.
    #[inline]
    pub fn bin(&mut self) -> Result<&'a [u8]> {
        let marker = self.marker()?;
        let len = match marker {
            0xc4 => self.be8()?,
            0xc5 => self.be16()?,
            0xc6 => self.be32()?,
            _ => return Err(mismatch("bytes", marker)),
        };
        self.take(len)
    }

    /// Steps over one value of any type.
    ///
    /// # Errors
    /// Malformed bytes, an extension value, or more than [`MAX_DEPTH`] levels.
    pub fn skip(&mut self) -> Result<()> {
        self.skip_within(MAX_DEPTH)
    }

    fn skip_within(&mut self, depth: u32) -> Result<()> {
        match self.kind()? {
            Kind::Nil | Kind::Bool => self.marker().map(drop),
            // `uint` would refuse the negative ones and `int` the largest.
            Kind::Int => self.number().map(drop),
            Kind::Float => self.number().map(drop),
            Kind::Str => self.str_bytes().map(drop),
            Kind::Bin => self.bin().map(drop),
            Kind::Array => {
                let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
                let len = self.array()?;
                (0..len).try_for_each(|_| self.skip_within(depth))
            }
            Kind::Map => {
                let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
                let len = self.map()?;
                (0..len).try_for_each(|_| {
                    self.skip_within(depth)?;
                    self.skip_within(depth)
                })
            }
            Kind::Other => Err(DecodeError::Unsupported { marker: self.marker()? }),
        }
    }

    /// The encoded bytes of one value of any type, stepped over and checked to be well formed.
    ///
    /// # Errors
    /// As [`Reader::skip`].
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        let start = self.rest;
        self.skip()?;
        let len = start.len().saturating_sub(self.rest.len());
        start.get(..len).ok_or(DecodeError::Truncated)
    }
}

#[cold]
fn mismatch(expected: &'static str, marker: u8) -> DecodeError {
    match Kind::of(marker) {
        Kind::Other => DecodeError::Unsupported { marker },
        found => DecodeError::WrongType { expected, found },
    }
}
