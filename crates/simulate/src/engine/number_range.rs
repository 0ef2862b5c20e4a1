//! What the numbers of a model may be: such that a simulation comes to its end.

/// The numbers that may stand under a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NumberRange {
    pub(crate) key: &'static str,
    least: f64,
    most: f64,
    /// 0 is allowed too, and has a meaning of its own.
    or_zero: bool,
}

impl NumberRange {
    /// Of all numbers but counts. A thousand seconds are the most that a step or a way may take; the slowest
    /// engine does a token of a prompt in a second.
    pub(crate) const ALL: [Self; 12] = [
        Self::new("step_ms", 0.001, 1e6),
        Self::new("sequence_ms", 0.0, 1e6),
        Self::new("context_token_ns", 0.0, 1e6),
        Self::new("prompt_tokens_per_second", 1.0, 1e12),
        Self::new("attention_tokens", 1.0, 1e9).or_zero(),
        Self::new("prompt_ms", 0.0, 1e6),
        Self::new("request_ms", 0.0, 1e6),
        Self::new("request_token_ns", 0.0, 1e6),
        Self::new("kv_events_delay_ms", 0.0, 1e6),
        Self::new("pairs.transfer_ms", 0.0, 1e6),
        Self::new("pairs.other_zone_ms", 0.0, 1e6),
        Self::new("pairs.transfer_tokens_per_second", 1.0, 1e12).or_zero(),
    ];

    const fn new(key: &'static str, least: f64, most: f64) -> Self {
        Self { key, least, most, or_zero: false }
    }

    const fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// True of a number that may stand there.
    pub(crate) fn allows(self, number: f64) -> bool {
        (self.least..=self.most).contains(&number) || self.or_zero && number == 0.0
    }

    /// The same in words.
    pub(crate) fn said(self) -> String {
        let zero = if self.or_zero { "0, or " } else { "" };
        format!("{zero}{} to {}", self.least, self.most)
    }

    /// The nearest number that may stand there.
    pub(crate) fn nearest(self, number: f64) -> f64 {
        if self.or_zero && number <= 0.0 { 0.0 } else { number.clamp(self.least, self.most) }
    }
}
