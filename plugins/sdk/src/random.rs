//! Small deterministic randomness, seeded by the host's `random` input.

/// Scrambles 64 bits: every input bit changes about half of the output bits.
///
/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", OOPSLA 2014), constants by David Stafford.
#[inline]
#[must_use]
pub const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// SplitMix64. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The same seed gives the same sequence.
    #[inline]
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    #[inline]
    #[must_use]
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, 0 for a bound of 0.
    ///
    /// By multiplication (Lemire 2019) without rejection: no bound below 2^32 is
    /// off by more than 2^-32 of a share. Bounds above count as 2^32 - 1.
    #[inline]
    #[must_use]
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::from(u32::try_from(bound).unwrap_or(u32::MAX));
        let scaled = (self.next_u64() >> 32).wrapping_mul(bound) >> 32;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// A float from 0.0 up to but not including 1.0, with 53 random bits.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub const fn unit(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * SCALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rng_repeats_the_published_sequence_of_its_seed() {
        // Reference output of splitmix64.c for seed 1234567.
        let mut rng = Rng::new(1_234_567);
        let drawn = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_stays_below_its_bound_and_reaches_every_value() {
        let mut rng = Rng::new(7);
        let mut seen = [0u32; 7];
        for _ in 0..7_000 {
            seen[rng.below(7)] += 1;
        }
        // 1000 expected, standard deviation 29; the seed is fixed.
        assert!(seen.iter().all(|count| (880..1120).contains(count)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    }

    #[test]
    fn unit_stays_in_its_half_open_range() {
        let mut rng = Rng::new(3);
        let mean = (0..10_000).map(|_| rng.unit()).inspect(|u| assert!((0.0..1.0).contains(u))).sum::<f64>()
            / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
