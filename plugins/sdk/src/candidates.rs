//! The workers that may be chosen, and the scans over them.

use crate::column::{Bits, Ints};
use crate::lanes;
use crate::lanes::Block;
use crate::lowest::Lowest;
use crate::random::Rng;

/// Healthy workers that were not tried for this request yet.
///
/// Scans go by 16 workers at a time.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    healthy: Bits<'a>,
    excluded: Bits<'a>,
    /// Number of workers in the table; bits beyond it do not count.
    len: usize,
}

impl<'a> Candidates<'a> {
    pub(crate) const fn new(healthy: Bits<'a>, excluded: Bits<'a>, len: usize) -> Self {
        Self { healthy, excluded, len }
    }

    /// True if worker `index` may be chosen.
    #[inline]
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        index < self.len && self.healthy.get(index) && !self.excluded.get(index)
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn count(self) -> usize {
        self.masks().map(ones).sum()
    }

    /// Their indices, ascending.
    #[inline]
    pub const fn iter(self) -> CandidateIter<'a> {
        CandidateIter { candidates: self, next: 0, bits: SetBits(0) }
    }

    /// The one with that rank among candidates, from 0.
    #[must_use]
    pub fn nth(self, rank: usize) -> Option<usize> {
        self.iter().nth(rank)
    }

    /// The candidate with the lowest value; equal ones share by chance.
    ///
    /// Unknown values (-1) count as lowest: a worker that never reported is tried.
    /// Three short scans without a branch that depends on the values, because loads
    /// of a busy fleet are unpredictable: the lowest value, how many have it, which.
    #[must_use]
    pub fn least(self, column: Ints<'_>, rng: &mut Rng) -> Option<usize> {
        let (whole, rest) = column.words().as_chunks();
        let last = padded(rest);
        let blocks = || self.masks().zip(whole.iter().chain(core::iter::once(&last)));

        let lowest = lanes::lowest(blocks());
        let ties = blocks().map(|(mask, words)| ones(mask & lanes::equal(words, lowest))).sum();
        let mut skip = rng.below(ties);
        for ((mask, words), start) in blocks().zip((0..).step_by(16)) {
            let equal = mask & lanes::equal(words, lowest);
            match skip.checked_sub(ones(equal)) {
                Some(left) => skip = left,
                None => return SetBits(equal).nth(skip).map(|bit| start + bit),
            }
        }
        None
    }

    /// The candidate that costs least; equal ones share by chance. A cost that is infinite or NaN counts as
    /// the highest of all, so that somebody is chosen while somebody may be.
    #[inline]
    #[must_use]
    pub fn least_by(self, rng: &mut Rng, cost: impl Fn(usize) -> f64) -> Option<usize> {
        self.iter()
            .fold(Lowest::NONE, |mut lowest, worker| {
                let cost = cost(worker);
                lowest.offer(if cost.is_finite() { cost } else { f64::MAX }, worker, rng);
                lowest
            })
            .kept()
    }

    /// The candidates as a mask per 16 workers.
    #[inline]
    fn masks(self) -> impl Iterator<Item = u16> + use<'a> {
        (0..self.len.div_ceil(16)).map(move |block| self.mask(block))
    }

    /// Workers 16 × `block` and the 15 after it, least significant bit first.
    #[inline]
    fn mask(self, block: usize) -> u16 {
        let inside = match self.len.saturating_sub(block * 16) {
            left @ 0..16 => (1u16 << left).wrapping_sub(1),
            _ => u16::MAX,
        };
        self.healthy.half(block) & !self.excluded.half(block) & inside
    }
}

/// The indices of candidates, ascending; see [`Candidates::iter`].
#[derive(Clone, Debug)]
pub struct CandidateIter<'a> {
    candidates: Candidates<'a>,
    /// The block after the one that `bits` are left of.
    next: usize,
    bits: SetBits,
}

impl Iterator for CandidateIter<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(bit) = self.bits.next() {
                return Some((self.next - 1) * 16 + bit);
            }
            if self.next * 16 >= self.candidates.len {
                return None;
            }
            self.bits = SetBits(self.candidates.mask(self.next));
            self.next += 1;
        }
    }

    /// Two plain loops: `for_each`, `sum`, `max_by_key` and the like take half the time
    /// of a `for` loop, which has to ask for every index.
    #[inline]
    fn fold<B, F: FnMut(B, usize) -> B>(self, start: B, mut add: F) -> B {
        let Self { candidates, next, bits } = self;
        let mut folded = start;
        for bit in bits {
            folded = add(folded, (next - 1) * 16 + bit);
        }
        for block in next..candidates.len.div_ceil(16) {
            for bit in SetBits(candidates.mask(block)) {
                folded = add(folded, block * 16 + bit);
            }
        }
        folded
    }
}

/// The last block, filled up; its mask leaves the filling out.
#[inline]
fn padded(rest: &[[u8; 4]]) -> Block {
    let mut last = [[0; 4]; 16];
    for (filled, word) in last.iter_mut().zip(rest) {
        *filled = *word;
    }
    last
}

#[inline]
fn ones(mask: u16) -> usize {
    usize::try_from(mask.count_ones()).unwrap_or(0)
}

/// The positions of the bits that are set, ascending.
#[derive(Clone, Debug)]
struct SetBits(u16);

impl Iterator for SetBits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = usize::try_from(self.0.trailing_zeros()).ok().filter(|bit| *bit < 16)?;
        self.0 &= self.0.wrapping_sub(1);
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Loads with many ties and unknowns, in an order without a pattern.
    fn loads(len: usize, seed: u64) -> Vec<[u8; 4]> {
        let mut rng = Rng::new(seed);
        (0..len).map(|_| (i32::try_from(rng.below(4)).unwrap() - 1).to_le_bytes()).collect()
    }

    fn bits(len: usize, seed: u64) -> Vec<u8> {
        let mut rng = Rng::new(seed);
        // Bits beyond the last worker are set too: they must not count.
        (0..len.div_ceil(8)).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
    }

    #[test]
    fn scans_agree_with_a_plain_loop_at_every_size_around_the_block() {
        for len in (0..70).chain([255, 256, 257, 1000]) {
            let seed = u64::try_from(len).unwrap();
            let (healthy, excluded, words) = (bits(len, seed), bits(len, seed + 1), loads(len, seed + 2));
            let candidates = Candidates::new(Bits::new(&healthy), Bits::new(&excluded), len);
            let bit = |bytes: &[u8], i: usize| bytes[i / 8] >> (i % 8) & 1 == 1;
            let expected: Vec<usize> =
                (0..len).filter(|i| bit(&healthy, *i) && !bit(&excluded, *i)).collect();
            assert_eq!(candidates.iter().collect::<Vec<_>>(), expected);
            assert_eq!(candidates.count(), expected.len());
            assert!((0..len + 20).all(|i| candidates.contains(i) == expected.contains(&i)));

            let lowest = expected.iter().map(|i| i32::from_le_bytes(words[*i])).min();
            let chosen = candidates.least(Ints::new(&words), &mut Rng::new(seed));
            assert_eq!(chosen.map(|i| i32::from_le_bytes(words[i])), lowest, "{len} workers");
            assert!(chosen.is_none_or(|i| expected.contains(&i)));
        }
    }

    #[test]
    fn least_shares_ties_evenly_and_never_leaves_them() {
        let words: Vec<[u8; 4]> = (0..40i32).map(|i| (i % 4).to_le_bytes()).collect();
        let healthy = vec![0xff; 5];
        let candidates = Candidates::new(Bits::new(&healthy), Bits::default(), 40);
        let mut rng = Rng::new(5);
        let mut counts = [0u32; 40];
        for _ in 0..10_000 {
            counts[candidates.least(Ints::new(&words), &mut rng).unwrap()] += 1;
        }
        for (index, count) in counts.into_iter().enumerate() {
            // Ten tied workers: 1000 expected each, standard deviation 30; the seed is fixed.
            let expected = if index % 4 == 0 { 850..1150 } else { 0..1 };
            assert!(expected.contains(&count), "worker {index}: {count}");
        }
    }

    #[test]
    fn least_finds_a_candidate_whose_load_is_the_largest_integer() {
        let words = vec![i32::MAX.to_le_bytes(); 3];
        let candidates = Candidates::new(Bits::new(&[0b010]), Bits::default(), 3);
        for seed in 0..20 {
            assert_eq!(candidates.least(Ints::new(&words), &mut Rng::new(seed)), Some(1));
        }
    }

    #[test]
    fn least_by_takes_the_cheapest_and_counts_what_is_no_cost_as_the_highest() {
        let healthy = [0b1111_0111];
        let candidates = Candidates::new(Bits::new(&healthy), Bits::default(), 8);
        let costs = [5.0, f64::NAN, 2.0, 0.0, f64::INFINITY, 2.0, 7.0, f64::NEG_INFINITY];
        let mut rng = Rng::new(1);
        let chosen: std::collections::BTreeSet<_> =
            (0..64).map(|_| candidates.least_by(&mut rng, |worker| costs[worker])).collect();
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [Some(2), Some(5)]);
        assert!(candidates.least_by(&mut rng, |_| f64::NAN).is_some());
        assert_eq!(Candidates::new(Bits::default(), Bits::default(), 8).least_by(&mut rng, |_| 0.0), None);
    }

    #[test]
    fn candidates_without_a_healthy_column_are_none() {
        let candidates = Candidates::new(Bits::default(), Bits::default(), 20);
        assert_eq!(candidates.count(), 0);
        assert_eq!(candidates.least(Ints::default(), &mut Rng::new(1)), None);
        assert_eq!(candidates.nth(0), None);
    }
}
