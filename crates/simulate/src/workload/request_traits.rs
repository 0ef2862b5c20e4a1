//! What requests say besides their prompts, and how reports tell them apart.

use serde::Serialize;

use crate::workload::header_mix::HeaderMix;

/// Tokens that requests say their answers may have at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerLimit {
    /// What the workload knows of each request; nothing, where it knows nothing.
    #[default]
    AsKnown,
    /// The same for all; what the answer has, where that is more: it was allowed to.
    Fixed(u32),
    /// So many times what the answer has, rounded up.
    Times(f64),
}

impl AnswerLimit {
    /// Reads `4096`, or `x1.5`.
    ///
    /// # Errors
    ///
    /// What would do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || "allowed: 1 to 4000000, or xFACTOR with a factor of 1 to 1000".to_owned();
        let limit = match text.strip_prefix('x') {
            Some(factor) => {
                let factor = factor.parse::<f64>().ok().filter(|factor| (1.0..=1000.0).contains(factor));
                factor.map(Self::Times)
            }
            None => text.parse::<u32>().ok().filter(|most| (1..=4_000_000).contains(most)).map(Self::Fixed),
        };
        limit.ok_or_else(fault)
    }

    /// What a request says whose answer has so many tokens, and of which this is known.
    pub(crate) fn of(self, output_tokens: u32, known: Option<u64>) -> Option<u64> {
        let output = u64::from(output_tokens);
        match self {
            Self::AsKnown => known,
            Self::Fixed(most) => Some(output.max(most.into())),
            Self::Times(factor) => Some(rounded_up(f64::from(output_tokens) * factor)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
fn rounded_up(tokens: f64) -> u64 {
    tokens.ceil() as u64
}

/// What tells requests apart besides their prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestTraits {
    /// Headers that they have.
    pub headers: Vec<HeaderMix>,
    /// What they say of the length of their answers.
    pub max_tokens: AnswerLimit,
    /// Prompts that have so many tokens are reported apart from shorter ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_from: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_is_known_or_fixed_or_by_the_answer() {
        let of = |text: &str| AnswerLimit::parse(text).unwrap();
        assert_eq!((of("1024").of(100, Some(5)), of("1024").of(3000, None)), (Some(1024), Some(3000)));
        assert_eq!((of("x1").of(100, None), of("x1.5").of(101, None)), (Some(100), Some(152)));
        let known = AnswerLimit::default();
        assert_eq!((known.of(100, Some(5)), known.of(100, None)), (Some(5), None));
        for text in ["", "0", "x0.5", "xinf", "x", "-1", "4000001", "1.5"] {
            assert!(AnswerLimit::parse(text).is_err(), "{text}");
        }
    }
}
