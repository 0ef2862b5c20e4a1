//! Whether one rate is really above another, or perhaps only by chance.
//!
//! The signed root of the likelihood ratio (Wilks, 1938). It compares two explanations of the counts:
//! two independent rates, and the best two of which the first exceeds the second by no more than is
//! allowed (the constrained estimate of Miettinen and Nurminen, 1985, and of Farrington and Manning,
//! 1990, who compare two shares in this way). It is roughly a number of standard deviations, needs no
//! least count, and unlike a normal approximation does not take one failure of one for a proof.

/// From this many standard deviations on, a difference is not chance.
///
/// One check alone would then err once in 30,000. A rollout is checked 50 times a second, and many
/// checks find what one would not: simulated over whole rollouts (see the tests of `verdict`), fewer
/// than one in a hundred canaries that are no worse than the bound is dropped.
const CERTAIN: f64 = 4.0;

/// Steps of the search for the constrained estimate: each halves the interval, which is at most 1.
const STEPS: usize = 50;

/// A part of a whole, as counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: u64,
    pub(crate) whole: u64,
}

/// How a rate compares with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is not above the bound, as far as counted.
    Within,
    /// It is above, perhaps by chance.
    Unclear,
    /// It is above, and not by chance.
    Above,
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^52 do not occur")]
impl Share {
    /// Between 0.0 and 1.0; 0.0 of nothing.
    pub(crate) fn rate(self) -> f64 {
        if self.whole == 0 { 0.0 } else { (self.part as f64 / self.whole as f64).min(1.0) }
    }

    /// Compares this with what is allowed: `other` plus `increase`; without another, `increase` alone.
    pub(crate) fn against(self, other: Option<Self>, increase: f64) -> Standing {
        if self.rate() <= other.map_or(0.0, Self::rate) + increase {
            return Standing::Within;
        }
        let deviations = match other {
            Some(other) => self.deviations(other, increase),
            None => root(self.log_likelihood(self.rate()) - self.log_likelihood(increase)),
        };
        if deviations >= CERTAIN { Standing::Above } else { Standing::Unclear }
    }

    /// By how many standard deviations this exceeds `other` by more than `increase`.
    fn deviations(self, other: Self, increase: f64) -> f64 {
        let together = |rate: f64| self.log_likelihood(rate + increase) + other.log_likelihood(rate);
        let slope = |rate: f64| self.slope(rate + increase) + other.slope(rate);
        // The likelihood is concave: its maximum is where the slope changes its sign.
        let (mut low, mut high) = (other.rate(), self.rate() - increase);
        for _ in 0..STEPS {
            let middle = f64::midpoint(low, high);
            if slope(middle) > 0.0 { low = middle } else { high = middle }
        }
        let free = self.log_likelihood(self.rate()) + other.log_likelihood(other.rate());
        root(free - together(f64::midpoint(low, high)))
    }

    fn log_likelihood(self, rate: f64) -> f64 {
        let term = |count: u64, rate: f64| if count == 0 { 0.0 } else { count as f64 * rate.ln() };
        term(self.part, rate) + term(self.whole.saturating_sub(self.part), 1.0 - rate)
    }

    fn slope(self, rate: f64) -> f64 {
        let term = |count: u64, rate: f64| if count == 0 { 0.0 } else { count as f64 / rate };
        term(self.part, rate) - term(self.whole.saturating_sub(self.part), 1.0 - rate)
    }
}

fn root(gain: f64) -> f64 {
    (2.0 * gain.max(0.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(part: u64, whole: u64) -> Share {
        Share { part, whole }
    }

    /// Values that a scan of the likelihood over a million rates gives.
    #[test]
    fn deviations_are_those_of_the_constrained_likelihood() {
        for (own, other, expected) in [
            (share(1, 1), share(0, 100), 3.03),
            (share(2, 2), share(0, 100), 4.20),
            (share(5, 5), share(0, 5), 3.70),
            (share(6, 6), share(0, 6), 4.05),
            (share(100, 1000), share(450, 9000), 4.64),
        ] {
            let found = own.deviations(other, 0.01);
            assert!((found - expected).abs() < 0.01, "{own:?} {other:?}: {found}");
        }
    }

    #[test]
    fn nothing_follows_from_a_failure_or_from_a_comparison_with_nothing() {
        assert_eq!(share(1, 1).against(Some(share(0, 1000)), 0.01), Standing::Unclear);
        assert_eq!(share(5, 5).against(Some(share(0, 0)), 0.01), Standing::Unclear);
        assert_eq!(share(0, 0).against(Some(share(0, 0)), 0.01), Standing::Within);
    }

    #[test]
    fn with_nobody_beside_it_the_bound_is_what_counts() {
        assert_eq!(share(1, 100).against(None, 0.01), Standing::Within);
        assert_eq!(share(3, 100).against(None, 0.01), Standing::Unclear);
        assert_eq!(share(3, 3).against(None, 0.01), Standing::Above);
        assert_eq!(share(1000, 1000).against(None, 1.0), Standing::Within);
        assert_eq!(share(3, 3).against(None, 0.0), Standing::Above);
        assert_eq!(share(1, 1000).against(Some(share(0, 1000)), 0.0), Standing::Unclear);
    }
}
