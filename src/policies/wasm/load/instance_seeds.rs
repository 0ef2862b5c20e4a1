//! The random number that each instance is started with.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is added for the next instance: odd, so that no number comes twice before all came once.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the seeds of instances come from.
#[derive(Debug)]
pub(crate) enum InstanceSeeds {
    /// From chance.
    Drawn,
    /// From a number, so that the same instances in the same order get the same ones again.
    Repeatable(AtomicU64),
}

impl InstanceSeeds {
    /// Those that follow from `seed`; without one, chance.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        seed.map_or(Self::Drawn, |seed| Self::Repeatable(AtomicU64::new(seed)))
    }

    /// That of the next instance.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Drawn => fastrand::u64(..),
            // Relaxed: only the number counts.
            Self::Repeatable(next) => {
                fastrand::Rng::with_seed(next.fetch_add(STEP, Ordering::Relaxed)).u64(..)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers_again_and_each_instance_another() {
        let drawn = |seed: u64| {
            let seeds = InstanceSeeds::new(Some(seed));
            [seeds.next(), seeds.next(), seeds.next()]
        };
        let [first, second, third] = drawn(7);
        assert_eq!(drawn(7), [first, second, third]);
        assert!(first != second && second != third && drawn(8)[0] != first);
    }
}
