//! MessagePack into a slice. The host's hot path: no allocation, no panic.

use alloc::vec;
use alloc::vec::Vec;

use crate::error::Full;

/// Writes MessagePack values one after another into a slice that it borrows.
///
/// Integers and lengths take their shortest form. After an error the contents of
/// the slice are unspecified; grow it and encode again.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    position: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the start of `buffer`.
    #[inline]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, position: 0 }
    }

    /// Bytes written so far.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Result<&mut [u8], Full> {
        let end = self.position.checked_add(len).ok_or(Full)?;
        let space = self.buffer.get_mut(self.position..end).ok_or(Full)?;
        self.position = end;
        Ok(space)
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), Full> {
        self.reserve(N)?.copy_from_slice(&bytes);
        Ok(())
    }

    #[inline]
    fn put1(&mut self, marker: u8, value: u8) -> Result<(), Full> {
        self.put([marker, value])
    }

    #[inline]
    fn put2(&mut self, marker: u8, value: u16) -> Result<(), Full> {
        let [a, b] = value.to_be_bytes();
        self.put([marker, a, b])
    }

    #[inline]
    fn put4(&mut self, marker: u8, value: u32) -> Result<(), Full> {
        let [a, b, c, d] = value.to_be_bytes();
        self.put([marker, a, b, c, d])
    }

    #[inline]
    fn put8(&mut self, marker: u8, value: u64) -> Result<(), Full> {
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        self.put([marker, a, b, c, d, e, f, g, h])
    }

    /// The header of an array; its `len` elements follow.
    ///
    /// # Errors
    /// [`Full`] if the header does not fit, or `len` is above `u32::MAX`.
    #[inline]
    pub fn array(&mut self, len: usize) -> Result<(), Full> {
        match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
            (Ok(n), _, _) if n < 16 => self.put([0x90 | n]),
            (_, Ok(n), _) => self.put2(0xdc, n),
            (_, _, Ok(n)) => self.put4(0xdd, n),
            _ => Err(Full),
        }
    }

    /// The header of a map; `len` keys, each before its value, follow.
    ///
    /// # Errors
    /// [`Full`] if the header does not fit, or `len` is above `u32::MAX`.
    #[inline]
    pub fn map(&mut self, len: usize) -> Result<(), Full> {
        match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
            (Ok(n), _, _) if n < 16 => self.put([0x80 | n]),
            (_, Ok(n), _) => self.put2(0xde, n),
            (_, _, Ok(n)) => self.put4(0xdf, n),
            _ => Err(Full),
        }
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn uint(&mut self, value: u64) -> Result<(), Full> {
        match (u8::try_from(value), u16::try_from(value), u32::try_from(value)) {
            (Ok(n), _, _) if n < 0x80 => self.put([n]),
            (Ok(n), _, _) => self.put1(0xcc, n),
            (_, Ok(n), _) => self.put2(0xcd, n),
            (_, _, Ok(n)) => self.put4(0xce, n),
            _ => self.put8(0xcf, value),
        }
    }

    /// An integer that may be negative.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn int(&mut self, value: i64) -> Result<(), Full> {
        if let Ok(value) = u64::try_from(value) {
            return self.uint(value);
        }
        match (i8::try_from(value), i16::try_from(value), i32::try_from(value)) {
            (Ok(n), _, _) if n >= -32 => self.put([n.cast_unsigned()]),
            (Ok(n), _, _) => self.put1(0xd0, n.cast_unsigned()),
            (_, Ok(n), _) => self.put2(0xd1, n.cast_unsigned()),
            (_, _, Ok(n)) => self.put4(0xd2, n.cast_unsigned()),
            _ => self.put8(0xd3, value.cast_unsigned()),
        }
    }

    /// A 32-bit float, bit for bit.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn f32(&mut self, value: f32) -> Result<(), Full> {
        self.put4(0xca, value.to_bits())
    }

    /// A 64-bit float, bit for bit.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn f64(&mut self, value: f64) -> Result<(), Full> {
        self.put8(0xcb, value.to_bits())
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn bool(&mut self, value: bool) -> Result<(), Full> {
        self.put([0xc2 | u8::from(value)])
    }

    /// Nil: nothing, not known.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn nil(&mut self) -> Result<(), Full> {
        self.put([0xc0])
    }

    /// A text.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn str(&mut self, text: &str) -> Result<(), Full> {
        let len = text.len();
        match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
            (Ok(n), _, _) if n < 32 => self.put([0xa0 | n])?,
            (Ok(n), _, _) => self.put1(0xd9, n)?,
            (_, Ok(n), _) => self.put2(0xda, n)?,
            (_, _, Ok(n)) => self.put4(0xdb, n)?,
            _ => return Err(Full),
        }
        self.raw(text.as_bytes())
    }

    /// A text, or nil.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn opt_str(&mut self, text: Option<&str>) -> Result<(), Full> {
        match text {
            Some(text) => self.str(text),
            None => self.nil(),
        }
    }

    /// A `bin` of `len` bytes, handed out to be filled in place.
    ///
    /// The slice keeps whatever the buffer held; the caller fills all of it.
    ///
    /// # Errors
    /// [`Full`] if it does not fit, or `len` is above `u32::MAX`.
    #[inline]
    pub fn bin(&mut self, len: usize) -> Result<&mut [u8], Full> {
        match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
            (Ok(n), _, _) => self.put1(0xc4, n)?,
            (_, Ok(n), _) => self.put2(0xc5, n)?,
            (_, _, Ok(n)) => self.put4(0xc6, n)?,
            _ => return Err(Full),
        }
        self.reserve(len)
    }

    /// Bytes that are MessagePack already, for example a state that is kept encoded.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) -> Result<(), Full> {
        self.reserve(encoded.len())?.copy_from_slice(encoded);
        Ok(())
    }
}

/// Encodes a message of unknown size into a vector that fits it exactly.
///
/// Off the hot path: `encode` is repeated with twice the space while it says
/// [`Full`], from 256 bytes up.
///
/// # Errors
/// [`Full`] if 2 GiB would not do.
pub fn encode_to_vec<F>(mut encode: F) -> Result<Vec<u8>, Full>
where
    F: FnMut(&mut Writer<'_>) -> Result<(), Full>,
{
    let mut space: usize = 256;
    while space <= 1 << 31 {
        let mut buffer = vec![0; space];
        let mut writer = Writer::new(&mut buffer);
        if encode(&mut writer).is_ok() {
            let len = writer.position();
            buffer.truncate(len);
            buffer.shrink_to_fit();
            return Ok(buffer);
        }
        space = space.saturating_mul(2);
    }
    Err(Full)
}
