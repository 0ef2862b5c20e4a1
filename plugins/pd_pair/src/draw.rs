//! The lowest of many costs, where equal ones share by chance.

use sgl_policy_sdk::Rng;

/// Keeps the cheapest offer; among `n` equal ones each is kept with chance 1/n
/// (reservoir sampling, Vitter 1985). An idle fleet is all ties.
#[derive(Debug)]
pub(crate) struct Lowest<T> {
    rng: Rng,
    best: Best<T>,
}

/// The cheapest so far, without randomness of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best<T> {
    kept: Option<(f64, T)>,
    ties: usize,
}

impl<T: Copy> Best<T> {
    pub(crate) const NONE: Self = Self { kept: None, ties: 0 };

    /// A cost that is NaN is never kept.
    pub(crate) fn offer(&mut self, cost: f64, item: T, rng: &mut Rng) {
        match self.kept {
            Some((lowest, _)) if cost > lowest || cost.is_nan() => return,
            Some((lowest, _)) if cost == lowest => self.ties += 1,
            None if cost.is_nan() => return,
            _ => self.ties = 1,
        }
        if self.ties == 1 || rng.below(self.ties) == 0 {
            self.kept = Some((cost, item));
        }
    }

    pub(crate) const fn lowest(&self) -> Option<(f64, T)> {
        self.kept
    }
}

impl<T: Copy> Lowest<T> {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng, best: Best::NONE }
    }

    pub(crate) fn offer(&mut self, cost: f64, item: T) {
        self.best.offer(cost, item, &mut self.rng);
    }

    pub(crate) const fn lowest(&self) -> Option<(f64, T)> {
        self.best.lowest()
    }

    pub(crate) fn chosen(&self) -> Option<T> {
        self.lowest().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_keeps_the_cheapest_and_ignores_what_is_no_number() {
        let mut lowest = Lowest::new(Rng::new(1));
        assert_eq!(lowest.chosen(), None);
        for (cost, item) in [(f64::NAN, 0), (3.0, 1), (2.0, 2), (f64::NAN, 3), (2.5, 4)] {
            lowest.offer(cost, item);
        }
        assert_eq!(lowest.lowest(), Some((2.0, 2)));
    }

    #[test]
    fn lowest_shares_ties_evenly() {
        let mut counts = [0u32; 5];
        let mut rng = Rng::new(1);
        for _ in 0..5_000 {
            let mut lowest = Lowest::new(rng.fork());
            lowest.offer(9.0, 0);
            (0..5).for_each(|item| lowest.offer(1.0, item));
            counts[lowest.chosen().unwrap()] += 1;
        }
        // 1000 expected each, standard deviation 28; the seed is fixed.
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
