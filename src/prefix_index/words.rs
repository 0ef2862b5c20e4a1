//! Arrays of words that readers may look at while the writer changes them.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// Words of the smallest array: one line of a processor's cache. All arrays are a whole number of them.
pub(super) const UNIT_WORDS: usize = 8;
/// Units of the largest array.
pub(super) const MAX_UNITS: usize = 64;
/// Words of the largest array.
pub(super) const MAX_WORDS: usize = MAX_UNITS * UNIT_WORDS;
/// Units in a chunk, which is what is asked of the allocator at once: 64 KiB.
const CHUNK_UNITS: usize = 1024;
/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = CHUNK_UNITS * UNIT_WORDS * size_of::<u64>();

/// Where an array lies: the number of its first unit.
pub(super) type WordsAt = u32;

/// Chunks of words. They are made as they are needed and never move or go, so that readers need no lock:
/// a reader that looks at an array that went to somebody else meanwhile reads numbers that mean nothing,
/// and sees by its node's version that it must not use them.
#[derive(Debug)]
pub(super) struct WordChunks {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl WordChunks {
    /// Room for at most `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        let chunks = (max_bytes / CHUNK_BYTES).clamp(1, u32::MAX as usize / CHUNK_UNITS);
        Self { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    /// The first `len` words of an array; empty if there is none there.
    #[inline]
    pub(super) fn slice(&self, at: WordsAt, len: usize) -> &[AtomicU64] {
        let (chunk, first) = (at as usize / CHUNK_UNITS, at as usize % CHUNK_UNITS * UNIT_WORDS);
        let words = self.chunks.get(chunk).and_then(OnceLock::get);
        words.and_then(|words| words.get(first..first + len)).unwrap_or_default()
    }
}

/// Which arrays of [`WordChunks`] are free. It belongs to the writer.
///
/// An array is taken from those that were given back: one of its size, else a part of a larger one. Before
/// more memory is used, neighbours that were given back become one again, if there are many.
#[derive(Debug)]
pub(super) struct FreeWords {
    /// Free arrays, by their units less one.
    free: [Vec<WordsAt>; MAX_UNITS],
    /// Chunks in use, the last one up to `used`.
    chunks: usize,
    used: usize,
    /// Units that were given back since neighbours were joined.
    given: usize,
}

impl Default for FreeWords {
    fn default() -> Self {
        Self { free: [const { Vec::new() }; MAX_UNITS], chunks: 0, used: CHUNK_UNITS, given: 0 }
    }
}

impl FreeWords {
    /// An array of that many units (up to [`MAX_UNITS`]); `None` if there is none and no more memory may be
    /// used, or memory is used up.
    pub(super) fn take(&mut self, words: &WordChunks, units: usize, may_grow: bool) -> Option<WordsAt> {
        if let Some(at) = self.again(units) {
            return Some(at);
        }
        if self.used + units > CHUNK_UNITS {
            if self.given * 8 > self.chunks * CHUNK_UNITS {
                self.join();
                if let Some(at) = self.again(units) {
                    return Some(at);
                }
            }
            self.grow(words, may_grow)?;
        }
        let at = u32::try_from((self.chunks - 1) * CHUNK_UNITS + self.used).ok()?;
        self.used += units;
        Some(at)
    }

    /// An array that was given back, or a part of one.
    fn again(&mut self, units: usize) -> Option<WordsAt> {
        let lists = self.free.iter_mut().enumerate().skip(units - 1);
        let (at, size) = lists.filter_map(|(size, list)| Some((list.pop()?, size + 1))).next()?;
        self.put_rest(at, units, size);
        Some(at)
    }

    /// True if there is an array of that many units without more memory.
    pub(super) fn has(&mut self, units: usize) -> bool {
        let is_there = |own: &Self| {
            own.used + units <= CHUNK_UNITS || own.free.iter().skip(units - 1).any(|list| !list.is_empty())
        };
        if !is_there(self) && self.given > 0 {
            self.join();
        }
        is_there(self)
    }

    fn grow(&mut self, words: &WordChunks, may_grow: bool) -> Option<()> {
        let next = words.chunks.get(self.chunks).filter(|_| may_grow)?;
        next.get_or_init(|| (0..CHUNK_UNITS * UNIT_WORDS).map(|_| AtomicU64::new(0)).collect());
        if self.chunks > 0 {
            let first = u32::try_from((self.chunks - 1) * CHUNK_UNITS).ok()?;
            self.put_rest(first, self.used, CHUNK_UNITS);
        }
        self.chunks += 1;
        self.used = 0;
        Some(())
    }

    /// Makes one of what was given back next to each other.
    fn join(&mut self) {
        self.given = 0;
        let mut all: Vec<(WordsAt, usize)> = Vec::new();
        for (size, list) in self.free.iter_mut().enumerate() {
            all.extend(std::mem::take(list).into_iter().map(|at| (at, size + 1)));
        }
        all.sort_unstable();
        let mut joined: Option<(WordsAt, usize)> = None;
        for (at, units) in all {
            joined = match joined {
                Some((first, len)) if is_next(first, len, at) => Some((first, len + units)),
                before => {
                    before.into_iter().for_each(|(first, len)| self.put_rest(first, 0, len));
                    Some((at, units))
                }
            };
        }
        joined.into_iter().for_each(|(first, len)| self.put_rest(first, 0, len));
    }

    /// Gives back what lies behind the first `units` of an array of `size`.
    pub(super) fn give_rest(&mut self, at: WordsAt, units: usize, size: usize) {
        self.given += size.saturating_sub(units);
        self.put_rest(at, units, size);
    }

    /// Gives an array back.
    pub(super) fn give(&mut self, at: WordsAt, units: usize) {
        self.give_rest(at, 0, units);
    }

    /// Makes what lies behind the first `skip` units of `size` free, as arrays of at most the largest size.
    fn put_rest(&mut self, at: WordsAt, skip: usize, size: usize) {
        for first in (skip..size).step_by(MAX_UNITS) {
            let units = (size - first).min(MAX_UNITS);
            if let (Ok(first), Some(list)) = (u32::try_from(first), self.free.get_mut(units - 1)) {
                list.push(at + first);
            }
        }
    }

    /// Bytes that are taken from the allocator.
    pub(super) fn bytes(&self) -> usize {
        let lists: usize = self.free.iter().map(|list| list.capacity() * size_of::<WordsAt>()).sum();
        self.chunks * CHUNK_BYTES + lists
    }

    /// Bytes of them that no array has.
    pub(super) fn free_bytes(&self) -> usize {
        let of = |(size, list): (usize, &Vec<WordsAt>)| (size + 1) * list.len();
        let units: usize = self.free.iter().enumerate().map(of).sum();
        (units + CHUNK_UNITS - self.used) * UNIT_WORDS * size_of::<u64>()
    }
}

/// True if the array at `next` follows one of `units` at `at`, in the same chunk.
fn is_next(at: WordsAt, units: usize, next: WordsAt) -> bool {
    at as usize + units == next as usize && !(next as usize).is_multiple_of(CHUNK_UNITS)
}

/// Units of the shorter part of a array of `len` words that is cut behind `at` of them.
pub(super) fn shorter_units(at: usize, len: usize) -> usize {
    at.div_ceil(UNIT_WORDS).min((len - at).div_ceil(UNIT_WORDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_do_not_overlap_and_what_is_given_back_is_used_again() {
        let words = WordChunks::new(4 * CHUNK_BYTES);
        let mut free = FreeWords::default();
        let mut held: Vec<(WordsAt, usize)> = Vec::new();
        let mut taken = vec![false; 4 * CHUNK_UNITS];
        for round in 0..20_000_usize {
            let units = round * 7919 % MAX_UNITS + 1;
            if held.len() > 3 && round % 3 == 2
                || free.take(&words, units, true).map(|at| held.push((at, units))).is_none()
            {
                let (at, units) = held.swap_remove(round % held.len());
                (0..units).for_each(|unit| taken[at as usize + unit] = false);
                free.give(at, units);
                continue;
            }
            let (at, units) = held[held.len() - 1];
            for unit in 0..units {
                assert!(!std::mem::replace(&mut taken[at as usize + unit], true), "unit is taken");
            }
            assert_eq!(words.slice(at, units * UNIT_WORDS).len(), units * UNIT_WORDS);
        }
        assert!(free.bytes() >= 4 * CHUNK_BYTES && free.free_bytes() < 4 * CHUNK_BYTES);
        held.drain(..).for_each(|(at, units)| free.give(at, units));
        let all = CHUNK_UNITS / MAX_UNITS * 4 - 1;
        assert!((0..all).all(|_| free.take(&words, MAX_UNITS, true).is_some()), "pieces stay pieces");
    }

    #[test]
    fn place_without_an_array_is_empty() {
        let words = WordChunks::new(CHUNK_BYTES);
        assert!(words.slice(0, 8).is_empty() && words.slice(u32::MAX, 8).is_empty());
        assert!(FreeWords::default().take(&words, 1, true).is_some());
        assert!(words.slice(u32::MAX, 8).is_empty());
    }
}
