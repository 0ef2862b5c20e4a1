//! The lowest of many costs, where equal ones share by chance.

use crate::random::Rng;

/// The cheapest offer so far; among `n` equal ones each is kept with chance 1/n
/// (reservoir sampling, Vitter 1985). An idle fleet is all ties.
#[derive(Clone, Copy, Debug)]
pub struct Lowest<T> {
    cost: f64,
    kept: Option<T>,
    ties: usize,
}

impl<T: Copy> Lowest<T> {
    /// Nothing yet.
    pub const NONE: Self = Self { cost: f64::INFINITY, kept: None, ties: 0 };

    /// Keeps `item` if it is cheaper. A cost that is infinite or NaN is never kept.
    #[inline]
    pub fn offer(&mut self, cost: f64, item: T, rng: &mut Rng) {
        if cost < self.cost {
            *self = Self { cost, kept: Some(item), ties: 1 };
        } else if cost == self.cost && self.kept.is_some() {
            self.ties += 1;
            if rng.below(self.ties) == 0 {
                self.kept = Some(item);
            }
        }
    }

    /// The cost of what is kept; infinite for nothing.
    #[inline]
    #[must_use]
    pub const fn cost(&self) -> f64 {
        self.cost
    }

    /// The cheapest, if anything was offered.
    #[inline]
    #[must_use]
    pub const fn kept(&self) -> Option<T> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_keeps_the_cheapest_and_ignores_what_is_no_cost() {
        let mut rng = Rng::new(1);
        let mut lowest = Lowest::NONE;
        lowest.offer(f64::INFINITY, 9, &mut rng);
        assert_eq!(lowest.kept(), None);
        for (cost, item) in [(f64::NAN, 0), (3.0, 1), (2.0, 2), (f64::NAN, 3), (2.5, 4)] {
            lowest.offer(cost, item, &mut rng);
        }
        assert_eq!((lowest.cost(), lowest.kept()), (2.0, Some(2)));
    }

    #[test]
    fn lowest_shares_ties_evenly() {
        let mut counts = [0u32; 5];
        let mut rng = Rng::new(1);
        for _ in 0..5_000 {
            let mut lowest = Lowest::NONE;
            lowest.offer(9.0, 0, &mut rng);
            (0..5).for_each(|item| lowest.offer(1.0, item, &mut rng));
            counts[lowest.kept().unwrap()] += 1;
        }
        // 1000 expected each, standard deviation 28; the seed is fixed.
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
