//! What a request costs on a worker, in estimated milliseconds.

use sgl_policy_sdk::Config;
use sgl_policy_sdk::Context;
use sgl_policy_sdk::Error;

/// The model's constants.
#[derive(Debug)]
pub(crate) struct Costs {
    prefill_tokens_per_s: f64,
    bytes_per_token: f64,
    decode_ms: f64,
    kv_full_ms: f64,
    /// KV cache transfer between zones.
    pub(crate) transfer_ms: f64,
}

/// From this share of its KV cache on a decode worker is likely to preempt requests.
const KV_TIGHT: f64 = 0.9;

impl Costs {
    pub(crate) fn new(config: Config<'_>) -> Result<Self, Error> {
        Ok(Self {
            prefill_tokens_per_s: config.number("prefill_tokens_per_s", 8_000.0, 1.0)?,
            bytes_per_token: config.number("bytes_per_token", 4.0, 0.1)?,
            decode_ms: config.number("decode_ms", 2.0, 0.0)?,
            kv_full_ms: config.number("kv_full_ms", 500.0, 0.0)?,
            transfer_ms: config.number("transfer_ms", 20.0, 0.0)?,
        })
    }

    /// Time until worker `index` has read the prompt: all tokens before it, and its own.
    ///
    /// A worker that does not report its queue is taken to have one prompt like this
    /// one for each request in flight.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn prefill(&self, ctx: &Context<'_>, index: usize) -> f64 {
        let own = ctx.prompt_bytes() as f64 / self.bytes_per_token;
        let before = match ctx.queued_tokens().known(index) {
            Some(tokens) => f64::from(tokens),
            None => f64::from(ctx.load().get(index)) * f64::max(own, 1.0),
        };
        (before + own) * 1_000.0 / self.prefill_tokens_per_s
    }

    /// Slowdown of generation on worker `index`, and its risk of running out of KV cache.
    ///
    /// The router's own count is fresher than the worker's report and the report sees
    /// other routers' requests, so the larger of the two counts.
    pub(crate) fn decode(&self, ctx: &Context<'_>, index: usize) -> f64 {
        let running = i32::max(ctx.running().get(index), ctx.load().get(index));
        let used = f64::from(ctx.kv_usage().known(index).unwrap_or(0.0));
        let tight = f64::max(used - KV_TIGHT, 0.0) / (1.0 - KV_TIGHT);
        f64::from(running) * self.decode_ms + tight * self.kv_full_ms
    }
}
