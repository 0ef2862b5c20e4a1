//! One decision as the policy sees it.

use core::marker::PhantomData;

use sgl_policy_abi::Input;

use crate::candidates::Candidates;
use crate::column::Bits;
use crate::column::Floats;
use crate::column::Ints;
use crate::column::Tokens;
use crate::message::Leg;
use crate::message::Message;
use crate::policy::Plugin;
use crate::random::Rng;
use crate::table::Table;

/// Stops the build of a policy `P` that reads this input without declaring it.
macro_rules! declared {
    ($input:literal) => {
        const {
            assert!(
                P::MANIFEST.declares($input),
                concat!(
                    "the policy reads the input `",
                    $input,
                    "`, which `inputs` of export_policy! does not list"
                )
            );
        }
    };
}

/// Workers, signals and request of one decision, read in place from the message, for the policy `P`.
///
/// Reading an input that `P` does not declare is an error of its build. Only a header's name may
/// not be known then: [`Context::header`] panics.
#[derive(Debug)]
pub struct Context<'a, P> {
    message: &'a Message<'a>,
    table: &'a Table,
    policy: PhantomData<fn() -> P>,
}

impl<'a, P: Plugin> Context<'a, P> {
    /// The view of a message that was read.
    #[inline]
    pub(crate) const fn new(message: &'a Message<'a>, table: &'a Table) -> Self {
        Self { message, table, policy: PhantomData }
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
        declared!("healthy");
        Candidates::new(self.message.columns.healthy, self.message.columns.excluded, self.len())
    }

    /// Input `healthy`.
    #[inline]
    #[must_use]
    pub fn healthy(&self) -> Bits<'a> {
        declared!("healthy");
        self.message.columns.healthy
    }

    /// Input `excluded`: already tried for this request.
    #[inline]
    #[must_use]
    pub fn excluded(&self) -> Bits<'a> {
        declared!("excluded");
        self.message.columns.excluded
    }

    /// Input `load`: requests in flight from this router.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Ints<'a> {
        declared!("load");
        self.message.columns.load
    }

    /// Input `running`: requests running as last reported.
    #[inline]
    #[must_use]
    pub fn running(&self) -> Ints<'a> {
        declared!("running");
        self.message.columns.running
    }

    /// Input `waiting`: requests queued as last reported.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> Ints<'a> {
        declared!("waiting");
        self.message.columns.waiting
    }

    /// Input `queued_tokens`: uncached prompt tokens waiting.
    #[inline]
    #[must_use]
    pub fn queued_tokens(&self) -> Ints<'a> {
        declared!("queued_tokens");
        self.message.columns.queued_tokens
    }

    /// Input `kv_usage`: 0.0 to 1.0.
    #[inline]
    #[must_use]
    pub fn kv_usage(&self) -> Floats<'a> {
        declared!("kv_usage");
        self.message.columns.kv_usage
    }

    /// Input `throughput`: generated tokens per second.
    #[inline]
    #[must_use]
    pub fn throughput(&self) -> Floats<'a> {
        declared!("throughput");
        self.message.columns.throughput
    }

    /// Input `latency_ewma`: time to first byte in milliseconds.
    #[inline]
    #[must_use]
    pub fn latency_ewma(&self) -> Floats<'a> {
        declared!("latency_ewma");
        self.message.columns.latency_ewma
    }

    /// Input `request_text`, as bytes: cheaper than [`Context::text`], which checks UTF-8.
    #[inline]
    #[must_use]
    pub fn text_bytes(&self) -> Option<&'a [u8]> {
        declared!("request_text");
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
        declared!("request_tokens");
        self.message.request.tokens
    }

    /// Input `prompt_bytes`: size of the prompt text.
    #[inline]
    #[must_use]
    pub fn prompt_bytes(&self) -> u64 {
        declared!("prompt_bytes");
        self.message.request.prompt_bytes
    }

    /// Input `model`: the requested model.
    #[must_use]
    pub fn model(&self) -> Option<&'a str> {
        declared!("model");
        core::str::from_utf8(self.message.request.model?).ok()
    }

    /// Input `header:<name>`: one request header, by its lower-case name.
    ///
    /// # Panics
    /// If the policy does not declare the header: a trap in the plugin, which its self-test finds.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let is_it = |input: &Input| matches!(input, Input::Header(header) if header == name);
        let position = P::MANIFEST.inputs.iter().position(is_it);
        assert!(
            position.is_some(),
            "the policy reads header `{name}`, which `inputs` of export_policy! does not list"
        );
        let mut r = self.message.elements();
        (0..position?).try_for_each(|_| r.skip()).ok()?;
        r.opt_str().ok()?
    }

    /// Input `leg`: which selection this is.
    #[inline]
    #[must_use]
    pub fn leg(&self) -> Leg {
        declared!("leg");
        self.message.request.leg
    }

    /// Input `random`: fresh host randomness.
    #[inline]
    #[must_use]
    pub fn random(&self) -> u64 {
        declared!("random");
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
        declared!("now_ns");
        self.message.request.now_ns
    }
}
