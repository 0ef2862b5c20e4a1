//! Whether one rate is really above another, or may be so by chance.
//!
//! The signed root of the likelihood ratio (Wilks, 1938): how much better the counts are explained by
//! two rates of their own than by the best two of which the first exceeds the second by no more than is
//! allowed (the constrained estimate of Miettinen and Nurminen, 1985, and of Farrington and Manning,
//! 1990, who compare two shares in this way). It is roughly a number of standard deviations, needs no
//! least count, and unlike a normal approximation it does not take one failure of one for a proof.

/// Standard deviations from which on a difference is no chance.
///
/// For one look it is a level of 1 in 30,000. A rollout is looked at 50 times a second, and many looks
/// find what one would not; simulated over whole rollouts (see the tests of `verdict`), fewer than one
/// canary in a hundred is dropped that is no worse than the bound.
const CERTAIN: f64 = 4.0;

/// Steps of the search for the constrained estimate: each halves the interval, which is at most 1.
const STEPS: usize = 50;

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: u64,
    pub(crate) whole: u64,
}

/// How a rate stands to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is no more than the bound, as far as was counted.
    Within,
    /// It is more, and that may be chance.
    Unclear,
    /// It is more, and that is no chance.
    Above,
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^52 do not occur")]
impl Share {
    /// Between 0.0 and 1.0; 0.0 of nothing.
    pub(crate) fn rate(self) -> f64 {
        if self.whole == 0 { 0.0 } else { (self.part as f64 / self.whole as f64).min(1.0) }
    }

    /// How this stands to what is allowed: `increase` more than `other`; without another, `increase`.
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
