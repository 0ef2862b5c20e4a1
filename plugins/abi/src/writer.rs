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
        *self.reserve(N)?.first_chunk_mut().ok_or(Full)? = bytes;
        Ok(())
    }

    /// `marker`, then `value` in `width` bytes, most significant first.
    ///
    /// One copy for all callers: on the host the call costs a nanosecond, and in a
    /// guest the inlined form would cost a KiB.
    fn put_wide(&mut self, marker: u8, width: u8, value: u64) -> Result<(), Full> {
        let bytes = value.to_be_bytes();
        let (_, low) = bytes.split_at_checked(bytes.len() - usize::from(width)).ok_or(Full)?;
        self.put([marker])?;
        self.raw(low)
    }

    /// The header of something with a length; `markers` are those of 8, 16 and 32
    /// bits, 0 where the format has none.
    fn put_len(&mut self, len: usize, markers: [u8; 3]) -> Result<(), Full> {
        let [short, middle, long] = markers;
        let wide = u64::try_from(len).map_err(|_| Full)?;
        match wide {
            0..=0xff if short != 0 => self.put_wide(short, 1, wide),
            0..=0xff => self.put_wide(middle, 2, wide),
            0x100..=0xffff => self.put_wide(middle, 2, wide),
            0x1_0000..=0xffff_ffff => self.put_wide(long, 4, wide),
            _ => Err(Full),
        }
    }

    /// The header of an array; its `len` elements follow.
    ///
    /// # Errors
    /// [`Full`] if the header does not fit, or `len` is above `u32::MAX`.
    #[inline]
    pub fn array(&mut self, len: usize) -> Result<(), Full> {
        match u8::try_from(len) {
            Ok(short @ 0..16) => self.put([0x90 | short]),
            _ => self.put_len(len, [0, 0xdc, 0xdd]),
        }
    }

    /// The header of a map; `len` keys, each before its value, follow.
    ///
    /// # Errors
    /// [`Full`] if the header does not fit, or `len` is above `u32::MAX`.
    #[inline]
    pub fn map(&mut self, len: usize) -> Result<(), Full> {
        match u8::try_from(len) {
            Ok(short @ 0..16) => self.put([0x80 | short]),
            _ => self.put_len(len, [0, 0xde, 0xdf]),
        }
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn uint(&mut self, value: u64) -> Result<(), Full> {
        match u8::try_from(value) {
            Ok(short @ 0..0x80) => self.put([short]),
            // A random number or a clock, in most messages: of a known size, so that it is one store.
            _ if value > u64::from(u32::MAX) => {
                let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
                self.put([0xcf, a, b, c, d, e, f, g, h])
            }
            _ => self.put_uint(value),
        }
    }

    fn put_uint(&mut self, value: u64) -> Result<(), Full> {
        match value {
            0..=0xff => self.put_wide(0xcc, 1, value),
            0x100..=0xffff => self.put_wide(0xcd, 2, value),
            _ => self.put_wide(0xce, 4, value),
        }
    }

    /// An integer that may be negative.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn int(&mut self, value: i64) -> Result<(), Full> {
        let bits = value.cast_unsigned();
        match value {
            0.. => self.uint(bits),
            // The negative fixint is the low byte as it is.
            -32..0 => self.put([bits.to_le_bytes()[0]]),
            -0x80..-32 => self.put_wide(0xd0, 1, bits),
            -0x8000..-0x80 => self.put_wide(0xd1, 2, bits),
            -0x8000_0000..-0x8000 => self.put_wide(0xd2, 4, bits),
            _ => self.put_wide(0xd3, 8, bits),
        }
    }

    /// A 32-bit float, bit for bit.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn f32(&mut self, value: f32) -> Result<(), Full> {
        self.put_wide(0xca, 4, u64::from(value.to_bits()))
    }

    /// A 64-bit float, bit for bit.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn f64(&mut self, value: f64) -> Result<(), Full> {
        self.put_wide(0xcb, 8, value.to_bits())
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
        match u8::try_from(text.len()) {
            Ok(short @ 0..32) => self.put([0xa0 | short])?,
            _ => self.put_len(text.len(), [0xd9, 0xda, 0xdb])?,
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
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) => self.put([0xc4, short])?,
            // A column of 64 workers and more: of a known size, so that it is one store.
            (_, Ok(middle)) => {
                let [high, low] = middle.to_be_bytes();
                self.put([0xc5, high, low])?;
            }
            _ => self.put_len(len, [0, 0, 0xc6])?,
        }
        self.reserve(len)
    }

    /// As many `bin`s of `len` bytes each, handed out together to be filled in place: the slice has their
    /// headers too, each of as many bytes as is returned with it.
    ///
    /// # Errors
    /// As [`Writer::bin`]; what it says of the contents holds here too.
    #[inline]
    pub fn bins(&mut self, count: usize, len: usize) -> Result<(usize, &mut [u8]), Full> {
        match (u8::try_from(len), u32::try_from(len)) {
            (Ok(short), _) => self.headed([0xc4, short], count, len),
            (_, Ok(len32 @ 0..=0xffff)) => {
                let [_, _, high, low] = len32.to_be_bytes();
                self.headed([0xc5, high, low], count, len)
            }
            (_, Ok(len32)) => {
                let [a, b, c, d] = len32.to_be_bytes();
                self.headed([0xc6, a, b, c, d], count, len)
            }
            _ => Err(Full),
        }
    }

    #[inline]
    fn headed<const N: usize>(
        &mut self,
        header: [u8; N],
        count: usize,
        len: usize,
    ) -> Result<(usize, &mut [u8]), Full> {
        let each = len.checked_add(N).ok_or(Full)?;
        let space = self.reserve(each.checked_mul(count).ok_or(Full)?)?;
        for bin in space.chunks_exact_mut(each) {
            *bin.first_chunk_mut().ok_or(Full)? = header;
        }
        Ok((N, space))
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
