//! Hashing of texts, the same in every version, so that affinity survives updates.

use crate::random::mix;

/// Hashes bytes to 64 bits, eight at a time.
///
/// Each step is xor, multiply by an odd constant, and fold the high half down, as
/// in wyhash and FxHash; [`mix`] finishes. Fast and even, but not safe against
/// someone who looks for collisions: whoever can do that only unbalances routing.
#[inline]
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    // The length tells a short tail from one that ends in zero bytes; the digits of
    // pi keep an empty text from hashing to 0.
    let start = 0x243f_6a88_85a3_08d3 ^ u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let state = words.iter().fold(start, |state, word| step(state, u64::from_le_bytes(*word)));
    let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u64::from(*byte));
    mix(step(state, tail))
}

#[inline]
const fn step(state: u64, word: u64) -> u64 {
    // The golden ratio in 64 bits; odd, so that the multiplication loses nothing.
    let product = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;

    #[test]
    fn hash_keeps_its_values_across_versions() {
        assert_eq!([hash(b""), hash(b"a"), hash(b"http://worker-1:8000")], KNOWN);
    }

    /// Recorded when the function was written.
    const KNOWN: [u64; 3] =
        [13_803_511_490_405_893_968, 16_472_671_169_693_876_475, 13_480_796_535_406_717_252];

    #[test]
    fn hash_tells_similar_texts_apart() {
        let mut seen = BTreeSet::new();
        for index in 0..10_000 {
            assert!(seen.insert(hash(format!("http://worker-{index}:8000").as_bytes())));
        }
        for len in 0..64 {
            assert!(seen.insert(hash(&std::vec![0; len])), "{len} zero bytes");
        }
    }

    #[test]
    fn hash_spreads_similar_texts_over_all_buckets() {
        let mut buckets = [0u32; 16];
        for index in 0..16_000 {
            let bucket = hash(format!("user {index}: hello").as_bytes()) >> 60;
            buckets[usize::try_from(bucket).unwrap()] += 1;
        }
        // 1000 expected, standard deviation 31.
        assert!(buckets.iter().all(|count| (860..1140).contains(count)), "{buckets:?}");
    }
}
