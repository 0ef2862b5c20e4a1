//! What a request costs on a worker, in estimated milliseconds.

use sgl_policy_sdk::{Config, Context, Declares, Error, Floats, Ints};

/// The model's constants.
#[derive(Debug)]
pub(crate) struct Costs {
    prefill_ms_per_token: f64,
    /// For prompts whose tokens nobody has counted; none where the router's estimate counts.
    tokens_per_byte: Option<f64>,
    decode_ms: f64,
    kv_full_ms: f64,
    /// KV cache transfer between zones.
    pub(crate) transfer_ms: f64,
}

/// Bytes of a token where nothing better is known.
const BYTES_PER_TOKEN: f64 = 4.0;

/// From this share of its KV cache on a decode worker is likely to preempt requests.
const KV_TIGHT: f32 = 0.9;

impl Costs {
    pub(crate) fn new(config: Config<'_>) -> Result<Self, Error> {
        Ok(Self {
            prefill_ms_per_token: 1_000.0 / config.number("prefill_tokens_per_s", 8_000.0, 1.0)?,
            tokens_per_byte: match config.get("bytes_per_token") {
                Some(_) => Some(1.0 / config.number("bytes_per_token", BYTES_PER_TOKEN, 0.1)?),
                None => None,
            },
            decode_ms: config.number("decode_ms", 2.0, 0.0)?,
            kv_full_ms: config.number("kv_full_ms", 500.0, 0.0)?,
            transfer_ms: config.number("transfer_ms", 20.0, 0.0)?,
        })
    }

    /// The model for one request.
    pub(crate) fn of<'a, P: Declares>(&'a self, ctx: &Context<'a, P>) -> RequestCosts<'a> {
        RequestCosts {
            costs: self,
            own_tokens: f64::max(self.tokens(ctx), 1.0),
            load: ctx.load(),
            running: ctx.running(),
            queued_tokens: ctx.queued_tokens(),
            uncached_tokens: ctx.uncached_tokens(),
            prefix_match: ctx.prefix_match(),
            kv_usage: ctx.kv_usage(),
        }
    }

    /// Tokens of the prompt: as the router counted or estimated them, or by the operator's word for bytes.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn tokens<P: Declares>(&self, ctx: &Context<'_, P>) -> f64 {
        let by_bytes = |per_byte: f64| ctx.prompt_bytes() as f64 * per_byte;
        match (self.tokens_per_byte, ctx.prompt_tokens()) {
            (Some(per_byte), tokens) if tokens == 0 || !ctx.prompt_tokens_exact() => by_bytes(per_byte),
            (None, 0) => by_bytes(1.0 / BYTES_PER_TOKEN),
            (_, tokens) => tokens as f64,
        }
    }
}

/// What one request costs on each worker.
#[derive(Debug)]
pub(crate) struct RequestCosts<'a> {
    costs: &'a Costs,
    /// Tokens of the prompt, at least one.
    own_tokens: f64,
    load: Ints<'a>,
    running: Ints<'a>,
    queued_tokens: Ints<'a>,
    uncached_tokens: Ints<'a>,
    prefix_match: Ints<'a>,
    kv_usage: Floats<'a>,
}

impl RequestCosts<'_> {
    /// Time until worker `index` has read the prompt: what waits there, and what it does not hold of this one.
    ///
    /// The router's own books are never late and the worker's report sees other routers' requests, so the
    /// larger of the two counts. Where there is neither, the worker is taken to have one prompt like this one
    /// for each request in flight.
    #[inline]
    pub(crate) fn prefill(&self, index: usize) -> f64 {
        let before = match i32::max(self.queued_tokens.get(index), self.uncached_tokens.get(index)) {
            tokens @ 0.. => f64::from(tokens),
            _ => f64::from(self.load.get(index)) * self.own_tokens,
        };
        let held = f64::from(self.prefix_match.get(index).max(0));
        // An engine reads one token at least, to have something to go on from.
        (before + f64::max(self.own_tokens - held, 1.0)) * self.costs.prefill_ms_per_token
    }

    /// Slowdown of generation on worker `index`, and its risk of running out of KV cache.
    ///
    /// The router's own count is fresher than the worker's report and the report sees
    /// other routers' requests, so the larger of the two counts.
    #[inline]
    pub(crate) fn decode(&self, index: usize) -> f64 {
        let running = i32::max(self.running.get(index), self.load.get(index));
        let cost = f64::from(running) * self.costs.decode_ms;
        let used = self.kv_usage.get(index);
        // False for NaN, which is "not known".
        if used > KV_TIGHT {
            let tight = (used - KV_TIGHT) / (1.0 - KV_TIGHT);
            return cost + f64::from(tight) * self.costs.kv_full_ms;
        }
        cost
    }
}
