//! Randomness without state: every draw is a hash of the seed and of what it is for, so that no
//! draw depends on how many others came before it, nor on which task came first.

/// Rounds of SplitMix64's finaliser (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", 2014): every input bit reaches every output bit.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Maps the upper 53 bits of a hash to `0.0..1.0`.
pub(crate) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// What one request's random choices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestSeed(u64);

/// Keeps the draws of one request apart from each other.
#[derive(Clone, Copy)]
enum DrawKind {
    Failure = 1,
    Length = 2,
    Jitter = 3,
    Word = 4,
    Id = 5,
}

impl RequestSeed {
    /// Seed of the request with this number (from 0, in order of arrival) at a worker with `seed`.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        Self(mix(mix(seed) ^ number))
    }

    fn draw(self, draw: DrawKind, salt: u64) -> u64 {
        mix(self.0 ^ mix(((draw as u64) << 56) ^ salt))
    }

    /// True for the share `rate` (0 to 1) of all requests.
    pub(crate) fn fails(self, rate: f64) -> bool {
        rate > 0.0 && unit(self.draw(DrawKind::Failure, 0)) < rate
    }

    /// Length of an answer that nobody bounded, in tokens: evenly spread from half of `mean` to
    /// one and a half of it, at least 1.
    pub(crate) fn natural_length(self, mean: u32) -> u32 {
        let offset = self.draw(DrawKind::Length, 0) % (u64::from(mean) + 1);
        let offset = u32::try_from(offset).unwrap_or(mean);
        (mean / 2).saturating_add(offset).max(1)
    }

    /// A number in `0.0..1.0` for the pace of one step.
    pub(crate) fn jitter(self, step: u32) -> f64 {
        unit(self.draw(DrawKind::Jitter, u64::from(step)))
    }

    /// A hash for the token at `index` of one choice.
    pub(crate) fn token(self, choice: u32, index: u32) -> u64 {
        self.draw(DrawKind::Word, (u64::from(choice) << 32) ^ u64::from(index))
    }

    /// A request id; `salt` keeps the ids of workers with the same seed apart.
    pub(crate) fn id(self, salt: u64) -> u64 {
        self.draw(DrawKind::Id, mix(salt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_length_stays_within_half_and_one_and_a_half_of_the_mean() {
        let lengths: Vec<u32> =
            (0..1000).map(|number| RequestSeed::new(7, number).natural_length(64)).collect();
        assert!(lengths.iter().all(|length| (32..=96).contains(length)));
        assert!(lengths.iter().any(|length| *length < 40));
        assert!(lengths.iter().any(|length| *length > 88));
    }

    #[test]
    fn natural_length_is_never_zero() {
        assert!((0..50).all(|number| RequestSeed::new(1, number).natural_length(1) >= 1));
    }

    #[test]
    fn failures_follow_the_rate() {
        let failures = |rate| (0..10_000).filter(|number| RequestSeed::new(3, *number).fails(rate)).count();
        assert_eq!(failures(0.0), 0);
        assert_eq!(failures(1.0), 10_000);
        // Seeded, so this is one fixed number; five standard deviations around 2500.
        assert!((2280..2720).contains(&failures(0.25)));
    }

    #[test]
    fn seeds_differ_by_worker_seed_and_by_request() {
        assert_eq!(RequestSeed::new(1, 1), RequestSeed::new(1, 1));
        assert_ne!(RequestSeed::new(1, 1), RequestSeed::new(1, 2));
        assert_ne!(RequestSeed::new(1, 1), RequestSeed::new(2, 1));
        assert_ne!(RequestSeed::new(1, 1).id(0), RequestSeed::new(1, 1).id(1));
    }
}
