//! What is expected of each request.

use serde::Serialize;

/// A service level objective: bounds for what a request's client sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slo {
    /// Seconds until the first token.
    pub ttft: f64,
    /// And for each prompt token so many more.
    pub ttft_per_token: f64,
    /// Seconds for each token after the first.
    pub tpot: f64,
}

impl Default for Slo {
    /// 2 s and 0.25 ms a prompt token until the first one; 0.2 s for each further one.
    fn default() -> Self {
        Self { ttft: 2.0, ttft_per_token: 0.000_25, tpot: 0.2 }
    }
}

impl Slo {
    /// True if the first token came in time.
    pub fn meets_ttft(&self, ttft: f64, prompt_tokens: u32) -> bool {
        ttft <= self.ttft + self.ttft_per_token * f64::from(prompt_tokens)
    }

    /// True if the others did, on average.
    pub fn meets_tpot(&self, tpot: Option<f64>) -> bool {
        tpot.is_none_or(|tpot| tpot <= self.tpot)
    }
}
