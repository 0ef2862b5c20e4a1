//! Per-worker columns, read in place.
//!
//! A column that the policy did not declare is empty: every read gives the
//! unknown value. The accessors in [`Context`](crate::Context) assert in debug
//! builds that it was declared.

/// One bit per worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bits<'a> {
    bytes: &'a [u8],
}

impl<'a> Bits<'a> {
    #[inline(always)]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bit of worker `index`; false beyond the last.
    #[inline]
    #[must_use]
    pub fn get(self, index: usize) -> bool {
        self.bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Workers 16 × `index` and the 15 after it, least significant bit first.
    #[inline]
    pub(crate) fn half(self, index: usize) -> u16 {
        let (halves, rest) = self.bytes.as_chunks();
        match halves.get(index) {
            Some(half) => u16::from_le_bytes(*half),
            None if index == halves.len() => rest.first().map_or(0, |byte| u16::from(*byte)),
            None => 0,
        }
    }

    pub(crate) const fn bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// One 32-bit integer per worker, -1 where it is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ints<'a> {
    words: &'a [[u8; 4]],
}

impl<'a> Ints<'a> {
    pub(crate) const fn new(words: &'a [[u8; 4]]) -> Self {
        Self { words }
    }

    /// The value of worker `index`; -1 if it is not known or beyond the last.
    #[inline]
    #[must_use]
    pub fn get(self, index: usize) -> i32 {
        self.words.get(index).map_or(-1, |word| i32::from_le_bytes(*word))
    }

    /// The value of worker `index`, if it is known.
    #[inline]
    #[must_use]
    pub fn known(self, index: usize) -> Option<u32> {
        u32::try_from(self.get(index)).ok()
    }

    /// All values in table order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = i32> + use<'a> {
        self.words.iter().map(|word| i32::from_le_bytes(*word))
    }

    #[inline]
    pub(crate) const fn words(self) -> &'a [[u8; 4]] {
        self.words
    }
}

/// One 32-bit float per worker, NaN where it is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floats<'a> {
    words: &'a [[u8; 4]],
}

impl<'a> Floats<'a> {
    pub(crate) const fn new(words: &'a [[u8; 4]]) -> Self {
        Self { words }
    }

    /// The value of worker `index`; NaN if it is not known or beyond the last.
    #[inline]
    #[must_use]
    pub fn get(self, index: usize) -> f32 {
        self.words.get(index).map_or(f32::NAN, |word| f32::from_le_bytes(*word))
    }

    /// The value of worker `index`, if it is known.
    #[inline]
    #[must_use]
    pub fn known(self, index: usize) -> Option<f32> {
        Some(self.get(index)).filter(|value| !value.is_nan())
    }

    /// All values in table order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        self.words.iter().map(|word| f32::from_le_bytes(*word))
    }
}

/// The token ids of a prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens<'a> {
    words: &'a [[u8; 4]],
}

impl<'a> Tokens<'a> {
    pub(crate) const fn new(words: &'a [[u8; 4]]) -> Self {
        Self { words }
    }

    /// Number of tokens.
    #[must_use]
    pub const fn len(self) -> usize {
        self.words.len()
    }

    /// True for an empty prompt.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.words.is_empty()
    }

    /// The ids in order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.words.iter().map(|word| u32::from_le_bytes(*word))
    }
}

/// One 64-bit hash for each whole block of a prompt, that of a block standing for all before it too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashes<'a> {
    words: &'a [[u8; 8]],
}

impl<'a> Hashes<'a> {
    pub(crate) const fn new(words: &'a [[u8; 8]]) -> Self {
        Self { words }
    }

    /// Number of blocks.
    #[must_use]
    pub const fn len(self) -> usize {
        self.words.len()
    }

    /// True for a prompt below one block.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.words.is_empty()
    }

    /// The hash of the prompt up to the end of block `index`, if there is one.
    #[inline]
    #[must_use]
    pub fn get(self, index: usize) -> Option<u64> {
        self.words.get(index).map(|word| u64::from_le_bytes(*word))
    }

    /// The hashes in order.
    #[inline]
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + use<'a> {
        self.words.iter().map(|word| u64::from_le_bytes(*word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_from_the_least_significant_and_are_false_beyond_the_end() {
        let bits = Bits::new(&[0b1000_0001, 0b10, 0b1]);
        let set: std::vec::Vec<usize> = (0..40).filter(|i| bits.get(*i)).collect();
        assert_eq!(set, [0, 7, 9, 16]);
        assert_eq!([bits.half(0), bits.half(1), bits.half(2)], [0b10_1000_0001, 1, 0]);
    }

    #[test]
    fn values_beyond_the_end_are_unknown() {
        let words = [7i32.to_le_bytes(), (-1i32).to_le_bytes()];
        let ints = Ints::new(&words);
        assert_eq!([ints.known(0), ints.known(1), ints.known(2)], [Some(7), None, None]);
        let words = [1.5f32.to_le_bytes(), f32::NAN.to_le_bytes()];
        let floats = Floats::new(&words);
        assert_eq!([floats.known(0), floats.known(1), floats.known(2)], [Some(1.5), None, None]);
    }
}
