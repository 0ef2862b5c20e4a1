//! How far a count may be from its share by chance alone.

/// How likely it may be that a right distribution fails a check, all its workers together.
pub(crate) const FALSE_ALARMS: f64 = 1e-6;

/// The counts out of `times` draws that a share of `share` allows, where `parts` of them are checked.
///
/// By the Chernoff bound (Hoeffding, 1963): that a binomial count lies as far from its mean as `x`, on its side,
/// has at most the probability `exp(-n D(x/n, p))`, with the relative entropy `D`. It holds for every `n`, and
/// nothing is approximated. Half of what is allowed goes to each side.
pub(crate) fn allowed(share: f64, times: u32, parts: usize) -> (u32, u32) {
    let limit = (FALSE_ALARMS / 2.0 / parts.max(1) as f64).ln();
    let is_credible =
        |count: u32| -f64::from(times) * divergence(f64::from(count) / f64::from(times), share) >= limit;
    let mean = share * f64::from(times);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of u32 draws")]
    let (below, above) = (mean.floor() as u32, (mean.ceil() as u32).min(times));
    // Counts next to the mean are credible always, and those further off less and less.
    let least = first(below, |count| !is_credible(below - count)).map_or(0, |far| below - far + 1);
    let most = first(times - above, |count| !is_credible(above + count)).map_or(times, |far| above + far - 1);
    (least.min(below), most.max(above))
}

/// The smallest number up to `last` of which this is true, which it is of all that follow.
fn first(last: u32, is_true: impl Fn(u32) -> bool) -> Option<u32> {
    if !is_true(last) {
        return None;
    }
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_true(middle) { high = middle } else { low = middle + 1 }
    }
    Some(high)
}

/// The relative entropy of a share that was found to the one that was expected.
fn divergence(found: f64, expected: f64) -> f64 {
    let part = |found: f64, expected: f64| if found == 0.0 { 0.0 } else { found * (found / expected).ln() };
    part(found, expected) + part(1.0 - found, 1.0 - expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_around_the_mean_and_tighter_with_more_draws() {
        assert_eq!(allowed(0.0, 1000, 2), (0, 0));
        assert_eq!(allowed(1.0, 1000, 2), (1000, 1000));
        let width = |times| {
            let (least, most) = allowed(0.25, times, 4);
            assert!(least < times / 4 && most > times / 4);
            f64::from(most - least) / f64::from(times)
        };
        assert!(width(100) > 2.0 * width(1000) && width(1000) > 2.0 * width(10_000));
    }

    #[test]
    fn bound_is_that_of_the_formula() {
        let (least, most) = allowed(0.5, 1000, 1);
        let tail = |count: u32| (-1000.0 * divergence(f64::from(count) / 1000.0, 0.5)).exp();
        for inside in [least, most] {
            assert!(tail(inside) >= FALSE_ALARMS / 2.0, "{inside}");
        }
        for outside in [least - 1, most + 1] {
            assert!(tail(outside) < FALSE_ALARMS / 2.0, "{outside}");
        }
    }

    #[test]
    fn fair_coin_passes_and_a_bent_one_fails() {
        let mut random = fastrand::Rng::with_seed(17);
        let mut heads = |share: f64| (0..10_000).filter(|_| random.f64() < share).count();
        let (least, most) = allowed(0.5, 10_000, 2);
        let is_allowed = |count: usize| (least as usize..=most as usize).contains(&count);
        assert!((0..200).all(|_| is_allowed(heads(0.5))));
        assert!((0..200).all(|_| !is_allowed(heads(0.56))));
    }
}
