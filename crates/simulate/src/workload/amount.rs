//! A number that differs from request to request.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use sglang_router_rs::types::shown_number;

/// A fixed number, or one that is drawn anew each time, with a lognormal distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DrawnAmount {
    /// Always the same.
    Fixed(f64),
    /// Drawn.
    Lognormal {
        /// The mean.
        mean: f64,
        /// The standard deviation over the mean.
        cv: f64,
        /// What is drawn above this is this. Default: nothing is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
}

impl DrawnAmount {
    /// Reads `4000`, or `4000:1.5`, or `4000:1.5:32000`: the mean, how many means the standard deviation is,
    /// and the most. Whether such an amount makes sense is not looked at.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts =
            text.split(':').map(|part| part.parse::<f64>().ok().filter(|number| number.is_finite()));
        let mean = parts.next()??;
        let amount = match parts.next() {
            None => Self::Fixed(mean),
            Some(cv) => {
                let max = match parts.next() {
                    None => None,
                    Some(max) => Some(max?),
                };
                Self::Lognormal { mean, cv: cv?, max }
            }
        };
        parts.next().is_none().then_some(amount)
    }

    /// True if nothing is drawn that makes no sense, and the mean is within this.
    pub(crate) fn is_fine(self, range: RangeInclusive<f64>) -> bool {
        let (Self::Fixed(mean) | Self::Lognormal { mean, .. }) = self;
        let is_within = match self {
            Self::Fixed(_) => true,
            Self::Lognormal { cv, max, .. } => {
                (0.0..=100.0).contains(&cv) && max.is_none_or(|max| range.contains(&max))
            }
        };
        is_within && range.contains(&mean)
    }

    /// One draw.
    pub(crate) fn draw(self, random: &mut fastrand::Rng) -> f64 {
        match self {
            Self::Fixed(amount) => amount,
            Self::Lognormal { mean, cv, max } => {
                let variance = (1.0 + cv * cv).ln();
                let drawn = mean * (variance.sqrt() * standard_normal(random) - variance / 2.0).exp();
                max.map_or(drawn, |max| drawn.min(max))
            }
        }
    }

    /// One draw as a count, no less than `least`.
    pub(crate) fn count(self, random: &mut fastrand::Rng, least: u32) -> u32 {
        rounded(self.draw(random)).max(least)
    }
}

impl fmt::Display for DrawnAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(amount) => f.write_str(&shown_number(*amount)),
            Self::Lognormal { mean, cv, max } => {
                write!(f, "{}:{}", shown_number(*mean), shown_number(*cv))?;
                max.map_or(Ok(()), |max| write!(f, ":{}", shown_number(max)))
            }
        }
    }
}

/// A draw of the normal distribution (Box and Muller 1958).
pub(crate) fn standard_normal(random: &mut fastrand::Rng) -> f64 {
    // 1 - f64() is above 0, so the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// A draw of the gamma distribution with mean 1 (Marsaglia and Tsang 2000).
pub(crate) fn gamma_of_mean_one(random: &mut fastrand::Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let power = (1.0 - random.f64()).powf(1.0 / shape);
        return gamma_of_mean_one(random, shape + 1.0) * (shape + 1.0) * power / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = standard_normal(random);
        let v = (1.0 + c * normal).powi(3);
        if v > 0.0 && (1.0 - random.f64()).ln() < normal * normal / 2.0 + d - d * v + d * v.ln() {
            return d * v / shape;
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
fn rounded(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_cv(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let drawn: Vec<f64> = (0..40_000).map(|_| draw()).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn draws_have_the_mean_and_the_deviation_that_were_asked_for() {
        let mut random = fastrand::Rng::with_seed(5);
        let amount = DrawnAmount::parse("4000:0.8").unwrap();
        let (mean, cv) = mean_and_cv(|| amount.draw(&mut random));
        assert!((mean / 4000.0 - 1.0).abs() < 0.02 && (cv - 0.8).abs() < 0.03, "{mean} {cv}");
        for shape in [0.25, 1.0, 4.0] {
            let (mean, cv) = mean_and_cv(|| gamma_of_mean_one(&mut random, shape));
            assert!((mean - 1.0).abs() < 0.03, "{shape}: {mean}");
            assert!((cv * shape.sqrt() - 1.0).abs() < 0.05, "{shape}: {cv}");
        }
    }

    #[test]
    fn amounts_are_read_from_text() {
        let mut random = fastrand::Rng::with_seed(5);
        assert_eq!(DrawnAmount::parse("512"), Some(DrawnAmount::Fixed(512.0)));
        let bounded = DrawnAmount::parse("100:2:150").unwrap();
        assert!((0..1000).all(|_| bounded.draw(&mut random) <= 150.0));
        assert_eq!(DrawnAmount::Fixed(0.2).count(&mut random, 1), 1);
        for text in ["", "x", "1:", "1:2:3:4", "inf", "1:nan", "1:2:x"] {
            assert_eq!(DrawnAmount::parse(text), None, "{text}");
        }
    }
}
