//! One decision as the policy sees it.

use sgl_policy_abi::Input;

use crate::candidates::Candidates;
use crate::column::Bits;
use crate::column::Floats;
use crate::column::Ints;
use crate::column::Tokens;
use crate::message::Leg;
use crate::message::Message;
use crate::random::Rng;
use crate::table::Table;

/// Workers, signals and request of one decision, read in place from the message.
///
/// An accessor whose input the policy did not declare gives the unknown value;
/// in debug builds it panics, so that native tests find the missing declaration.
#[derive(Debug)]
pub struct Context<'a> {
    message: &'a Message<'a>,
    inputs: &'static [Input],
    table: &'a Table,
}

impl<'a> Context<'a> {
    /// The view of a message that was read, for a policy with these inputs.
    #[inline]
    pub(crate) const fn new(message: &'a Message<'a>, inputs: &'static [Input], table: &'a Table) -> Self {
        Self { message, inputs, table }
    }

    #[inline]
    fn declared(&self, input: &Input) {
        debug_assert!(
            self.inputs.contains(input),
            "the policy reads `{}` but does not declare it as an input",
            input.name()
        );
    }

    /// Number of workers.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.message.workers()
    }

    /// True without workers.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Facts that rarely change. Empty for a plugin that is exported `without_table`.
    #[inline]
    #[must_use]
    pub const fn table(&self) -> &'a Table {
        self.table
    }

    /// Workers that may be chosen: healthy, and not excluded if that is declared.
    #[inline]
    #[must_use]
    pub fn candidates(&self) -> Candidates<'a> {
        self.declared(&Input::Healthy);
        Candidates::new(self.message.columns.healthy, self.message.columns.excluded, self.len())
    }

    /// Input `healthy`.
    #[inline]
    #[must_use]
    pub fn healthy(&self) -> Bits<'a> {
        self.declared(&Input::Healthy);
        self.message.columns.healthy
    }

    /// Input `excluded`: already tried for this request.
    #[inline]
    #[must_use]
    pub fn excluded(&self) -> Bits<'a> {
        self.declared(&Input::Excluded);
        self.message.columns.excluded
    }

    /// Input `load`: requests in flight from this router.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Ints<'a> {
        self.declared(&Input::Load);
        self.message.columns.load
    }

    /// Input `running`: requests running as last reported.
    #[inline]
    #[must_use]
    pub fn running(&self) -> Ints<'a> {
        self.declared(&Input::Running);
        self.message.columns.running
    }

    /// Input `waiting`: requests queued as last reported.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> Ints<'a> {
        self.declared(&Input::Waiting);
        self.message.columns.waiting
    }

    /// Input `queued_tokens`: uncached prompt tokens waiting.
    #[inline]
    #[must_use]
    pub fn queued_tokens(&self) -> Ints<'a> {
        self.declared(&Input::QueuedTokens);
        self.message.columns.queued_tokens
    }

    /// Input `kv_usage`: 0.0 to 1.0.
    #[inline]
    #[must_use]
    pub fn kv_usage(&self) -> Floats<'a> {
        self.declared(&Input::KvUsage);
        self.message.columns.kv_usage
    }

    /// Input `throughput`: generated tokens per second.
    #[inline]
    #[must_use]
    pub fn throughput(&self) -> Floats<'a> {
        self.declared(&Input::Throughput);
        self.message.columns.throughput
    }

    /// Input `latency_ewma`: time to first byte in milliseconds.
    #[inline]
    #[must_use]
    pub fn latency_ewma(&self) -> Floats<'a> {
        self.declared(&Input::LatencyEwma);
        self.message.columns.latency_ewma
    }

    /// Input `request_text`, as bytes: cheaper than [`Context::text`], which checks UTF-8.
    #[inline]
    #[must_use]
    pub fn text_bytes(&self) -> Option<&'a [u8]> {
        self.declared(&Input::RequestText);
        self.message.request.text
    }

    /// Input `request_text`: the prompt, or the joined chat messages.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        core::str::from_utf8(self.text_bytes()?).ok()
    }

    /// Input `request_tokens`: token ids where the router has them.
    #[inline]
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens<'a>> {
        self.declared(&Input::RequestTokens);
        self.message.request.tokens
    }

    /// Input `prompt_bytes`: size of the prompt text.
    #[inline]
    #[must_use]
    pub fn prompt_bytes(&self) -> u64 {
        self.declared(&Input::PromptBytes);
        self.message.request.prompt_bytes
    }

    /// Input `model`: the requested model.
    #[must_use]
    pub fn model(&self) -> Option<&'a str> {
        self.declared(&Input::Model);
        core::str::from_utf8(self.message.request.model?).ok()
    }

    /// Input `header:<name>`: one request header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let is_it = |input: &Input| matches!(input, Input::Header(header) if header == name);
        let position = self.inputs.iter().position(is_it);
        debug_assert!(
            position.is_some(),
            "the policy reads header `{name}` but does not declare it as an input"
        );
        let mut r = self.message.elements();
        (0..position?).try_for_each(|_| r.skip()).ok()?;
        r.opt_str().ok()?
    }

    /// Input `leg`: which selection this is.
    #[inline]
    #[must_use]
    pub fn leg(&self) -> Leg {
        self.declared(&Input::Leg);
        self.message.request.leg
    }

    /// Input `random`: fresh host randomness.
    #[inline]
    #[must_use]
    pub fn random(&self) -> u64 {
        self.declared(&Input::Random);
        self.message.request.random
    }

    /// A generator seeded by [`Context::random`].
    #[inline]
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng::new(self.random())
    }

    /// Input `now_ns`: monotonic clock in nanoseconds.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.declared(&Input::NowNs);
        self.message.request.now_ns
    }
}
