//! MessagePack out of a slice that nobody vouches for.

use crate::error::{DecodeError, Expected};
use crate::kind::Kind;
use crate::token::Token;

/// Levels of arrays and maps that a free-form value may have.
///
/// Bounded because readers recurse and a guest's stack has only a few KiB.
pub const MAX_DEPTH: u32 = 32;

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
            _ => Err(DecodeError::TrailingBytes),
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
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
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

    /// `width` bytes, most significant first, 1 to 8 of them.
    fn wide(&mut self, width: u8) -> Result<u64> {
        let bytes = self.take(usize::from(width))?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn len(&mut self, width: u8) -> Result<usize> {
        // Only a 16-bit target fails here, and there the bytes cannot exist.
        usize::try_from(self.wide(width)?).map_err(|_| DecodeError::Truncated)
    }

    /// The head of the next value.
    ///
    /// Not inlined: one copy of this serves all typed reads, which keeps guests small.
    #[inline(never)]
    pub(crate) fn token(&mut self) -> Result<Token> {
        let [marker] = self.fixed()?;
        Ok(match marker {
            0x00..=0x7f => Token::Uint(u64::from(marker)),
            0x80..=0x8f => Token::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Token::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Token::Str(usize::from(marker & 0x1f)),
            0xc0 => Token::Nil,
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => Token::Bin(self.len(1 << (marker - 0xc4))?),
            0xca => Token::Float(f64::from(f32::from_be_bytes(self.fixed()?))),
            0xcb => Token::Float(f64::from_be_bytes(self.fixed()?)),
            0xcc..=0xcf => Token::Uint(self.wide(1 << (marker - 0xcc))?),
            0xd0..=0xd3 => {
                // Shifting up and back down extends the sign.
                let width = 1 << (marker - 0xd0);
                let unused = 64 - 8 * u32::from(width);
                Token::Int((self.wide(width)? << unused).cast_signed() >> unused)
            }
            0xd9..=0xdb => Token::Str(self.len(1 << (marker - 0xd9))?),
            0xdc | 0xdd => Token::Array(self.len(2 << (marker - 0xdc))?),
            0xde | 0xdf => Token::Map(self.len(2 << (marker - 0xde))?),
            0xe0..=0xff => Token::Int(i64::from(marker.cast_signed())),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Token::Other(marker),
        })
    }

    /// `count` values need `each` bytes apiece at least.
    #[inline]
    pub(crate) fn counted(&self, count: usize, each: usize) -> Result<usize> {
        if count > self.rest.len() / each { Err(DecodeError::Truncated) } else { Ok(count) }
    }

    /// The header of an array: the number of elements that follow.
    ///
    /// # Errors
    /// Another type, or fewer bytes left than elements claimed.
    #[inline]
    pub fn array(&mut self) -> Result<usize> {
        if let [marker @ 0x90..=0x9f, rest @ ..] = self.rest {
            self.rest = rest;
            return self.counted(usize::from(marker & 0x0f), 1);
        }
        self.long_array()
    }

    fn long_array(&mut self) -> Result<usize> {
        match self.token()? {
            Token::Array(count) => self.counted(count, 1),
            other => Err(other.mismatch(Expected::Array)),
        }
    }

    /// The header of a map: the number of entries that follow.
    ///
    /// # Errors
    /// Another type, or fewer bytes left than the claimed entries need.
    pub fn map(&mut self) -> Result<usize> {
        match self.token()? {
            Token::Map(count) => self.counted(count, 2),
            other => Err(other.mismatch(Expected::Map)),
        }
    }

    /// An integer that is not negative.
    ///
    /// # Errors
    /// Another type, or a negative integer.
    #[inline]
    pub fn uint(&mut self) -> Result<u64> {
        match self.rest {
            [value @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*value))
            }
            [0xcf, a, b, c, d, e, f, g, h, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            _ => self.middle_uint(),
        }
    }

    fn middle_uint(&mut self) -> Result<u64> {
        match self.token()? {
            Token::Uint(value) => Ok(value),
            Token::Int(value) => {
                u64::try_from(value).map_err(|_| DecodeError::OutOfRange { expected: Expected::Uint })
            }
            other => Err(other.mismatch(Expected::Uint)),
        }
    }

    /// An integer of either sign.
    ///
    /// # Errors
    /// Another type, or an integer above `i64::MAX`.
    pub fn int(&mut self) -> Result<i64> {
        match self.token()? {
            Token::Int(value) => Ok(value),
            Token::Uint(value) => {
                i64::try_from(value).map_err(|_| DecodeError::OutOfRange { expected: Expected::Int })
            }
            other => Err(other.mismatch(Expected::Int)),
        }
    }

    /// A number: a float of either width, or an integer turned into one.
    ///
    /// # Errors
    /// Another type.
    #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
    pub fn number(&mut self) -> Result<f64> {
        match self.token()? {
            Token::Float(value) => Ok(value),
            Token::Uint(value) => Ok(value as f64),
            Token::Int(value) => Ok(value as f64),
            other => Err(other.mismatch(Expected::Number)),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// Another type.
    pub fn bool(&mut self) -> Result<bool> {
        match self.token()? {
            Token::Bool(value) => Ok(value),
            other => Err(other.mismatch(Expected::Bool)),
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
    pub fn str_bytes(&mut self) -> Result<&'a [u8]> {
        match self.token()? {
            Token::Str(len) => self.take(len),
            other => Err(other.mismatch(Expected::Str)),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// Another type, a text longer than what is left, or one that is not UTF-8.
    pub fn str(&mut self) -> Result<&'a str> {
        text(self.str_bytes()?)
    }

    /// A text, or nil.
    ///
    /// # Errors
    /// As [`Reader::str`].
    pub fn opt_str(&mut self) -> Result<Option<&'a str>> {
        if self.nil() { Ok(None) } else { self.str().map(Some) }
    }

    /// Bytes.
    ///
    /// # Errors
    /// Another type, or more bytes than are left.
    #[inline]
    pub fn bin(&mut self) -> Result<&'a [u8]> {
        let (len, rest) = match self.rest {
            [0xc4, a, rest @ ..] => (usize::from(*a), rest),
            [0xc5, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return self.other_bin(),
        };
        self.rest = rest;
        self.take(len)
    }

    fn other_bin(&mut self) -> Result<&'a [u8]> {
        match self.token()? {
            Token::Bin(len) => self.take(len),
            other => Err(other.mismatch(Expected::Bin)),
        }
    }

    /// Steps over one value of any type.
    ///
    /// # Errors
    /// Malformed bytes, an extension value, or more than [`MAX_DEPTH`] levels.
    pub fn skip(&mut self) -> Result<()> {
        self.skip_within(MAX_DEPTH)
    }

    fn skip_within(&mut self, depth: u32) -> Result<()> {
        let (values, count) = match self.token()? {
            Token::Nil | Token::Bool(_) | Token::Uint(_) | Token::Int(_) | Token::Float(_) => {
                return Ok(());
            }
            Token::Str(len) | Token::Bin(len) => return self.take(len).map(drop),
            Token::Array(count) => (1, self.counted(count, 1)?),
            Token::Map(count) => (2, self.counted(count, 2)?),
            Token::Other(marker) => return Err(DecodeError::Unsupported { marker }),
        };
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        // At most the number of bytes that are left, so this cannot overflow.
        for _ in 0..values * count {
            self.skip_within(depth)?;
        }
        Ok(())
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

/// The text that `bytes` are.
pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    core::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}
