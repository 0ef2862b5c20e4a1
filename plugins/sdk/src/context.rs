//! One decision as the policy sees it.

use core::marker::PhantomData;

use sgl_policy_abi::{Column, Input, Leg};

use crate::candidates::Candidates;
use crate::column::{Bits, Floats, Hashes, Ints, Tokens};
use crate::message::Message;
use crate::random::Rng;
use crate::section::Declares;
use crate::table::Table;

/// Stops the build of a policy `P` that reads this input without declaring it.
macro_rules! declared {
    ($($input:tt)+) => {
        const {
            assert!(
                P::MANIFEST.declares($($input)+),
                concat!(
                    "the policy reads the input `",
                    $($input)+,
                    "`, which `inputs` of export_policy! does not list"
                )
            );
        }
    };
}

macro_rules! column {
    (i32) => { Ints<'a> };
    (f32) => { Floats<'a> };
}

/// One method for each column, with the column's own name.
macro_rules! accessors {
    ($($column:ident($name:ident): $number:ident = $unknown:expr, $meaning:literal;)+) => {
        $(
            #[doc = concat!("Input `", stringify!($name), "`: ", $meaning, ".")]
            #[inline]
            #[must_use]
            pub fn $name(&self) -> column!($number) {
                declared!(stringify!($name));
                <column!($number)>::new(self.message.columns.numbers(Column::$column))
            }
        )+
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

impl<'a, P: Declares> Context<'a, P> {
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

    sgl_policy_abi::for_each_column!(accessors);

    /// Input `prefix_match`: how many tokens of this request's prompt each worker is believed to hold; 0 =
    /// none, -1 = nobody knows, because the prompt has no whole block or the router keeps no index.
    #[inline]
    #[must_use]
    pub fn prefix_match(&self) -> Ints<'a> {
        declared!("prefix_match");
        Ints::new(self.message.columns.prefix_match)
    }

    /// Tokens of this prompt that worker `index` has to process: `prompt_tokens` less what it is believed to
    /// hold (`prefix_match`). All of them where nothing is known of its cache.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
    pub fn missing_tokens(&self, index: usize) -> f64 {
        self.prompt_tokens().saturating_sub(self.prefix_match().known(index).unwrap_or(0).into()) as f64
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

    /// Input `request_tokens`: token ids where the router has them, from the request or by a tokenizer.
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

    /// Input `prompt_tokens`: tokens of the prompt, of all prompts of a batch; 0 if nothing is known.
    /// Counted or estimated, as [`Context::prompt_tokens_exact`] says.
    #[inline]
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        declared!("prompt_tokens");
        self.message.request.prompt_tokens
    }

    /// Input `prompt_tokens_exact`: true if [`Context::prompt_tokens`] was counted, false if it is an
    /// estimate.
    #[inline]
    #[must_use]
    pub fn prompt_tokens_exact(&self) -> bool {
        declared!("prompt_tokens_exact");
        self.message.request.prompt_tokens_exact != 0
    }

    /// Input `max_tokens`: how many tokens the request lets be generated at most, if it says so.
    #[inline]
    #[must_use]
    pub fn max_tokens(&self) -> Option<u64> {
        declared!("max_tokens");
        self.message.request.max_tokens
    }

    /// Input `stream`: true if the answer is to be a stream.
    #[inline]
    #[must_use]
    pub fn stream(&self) -> bool {
        declared!("stream");
        self.message.request.stream != 0
    }

    /// Input `route`: the path of the endpoint, such as `/v1/chat/completions`.
    #[must_use]
    pub fn route(&self) -> Option<&'a str> {
        declared!("route");
        core::str::from_utf8(self.message.request.route?).ok()
    }

    /// Input `session`: the key of the session that the request belongs to, from where the operator's
    /// configuration has it looked for.
    #[must_use]
    pub fn session(&self) -> Option<&'a str> {
        declared!("session");
        core::str::from_utf8(self.message.request.session?).ok()
    }

    /// Input `client_key`: the name of the key that the client showed, where the operator gives keys to
    /// clients.
    #[must_use]
    pub fn client_key(&self) -> Option<&'a str> {
        declared!("client_key");
        core::str::from_utf8(self.message.request.client_key?).ok()
    }

    /// Input `prefix_hashes`: a hash for each whole block of the prompt. Requests of one model that begin
    /// alike have the same hashes as far as that goes.
    #[inline]
    #[must_use]
    pub fn prefix_hashes(&self) -> Option<Hashes<'a>> {
        declared!("prefix_hashes");
        self.message.request.prefix_hashes
    }

    /// Input `arrival_rate`: requests a second at this router, a moving average over a minute; NaN if it is
    /// not known.
    #[inline]
    #[must_use]
    pub fn arrival_rate(&self) -> f32 {
        declared!("arrival_rate");
        self.message.request.arrival_rate
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
        self.named("header", name, |input| matches!(input, Input::Header(known) if known == name))
    }

    /// Input `config_header:<key>`: the request header whose name the plugin's configuration has under this
    /// key.
    ///
    /// # Panics
    /// As [`Context::header`].
    #[must_use]
    pub fn config_header(&self, key: &str) -> Option<&'a str> {
        self.named("config_header", key, |input| matches!(input, Input::ConfigHeader(known) if known == key))
    }

    /// Input `field:<JSON pointer>`: a text, number or truth value of the request's body.
    ///
    /// # Panics
    /// As [`Context::header`].
    #[must_use]
    pub fn field(&self, pointer: &str) -> Option<&'a str> {
        self.named("field", pointer, |input| matches!(input, Input::Field(known) if known == pointer))
    }

    /// Input `query:<name>`: the first parameter of that name in the request's URL.
    ///
    /// # Panics
    /// As [`Context::header`].
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&'a str> {
        self.named("query", name, |input| matches!(input, Input::Query(known) if known == name))
    }

    /// A text that is an input by its name.
    fn named(&self, kind: &str, name: &str, is_it: impl Fn(&Input) -> bool) -> Option<&'a str> {
        let position = P::MANIFEST.inputs.iter().position(is_it);
        assert!(
            position.is_some(),
            "the policy reads {kind} `{name}`, which `inputs` of export_policy! does not list"
        );
        let mut r = self.message.elements();
        (0..position?).try_for_each(|_| r.skip()).ok()?;
        r.opt_str().ok()?
    }

    /// Input `waited_ms`: how long the router has held this request because the policy had it wait.
    #[inline]
    #[must_use]
    pub fn waited_ms(&self) -> u64 {
        declared!("waited_ms");
        self.message.request.waited_ms
    }

    /// Input `may_wait_ms`: how long the router may still hold this request. 0: not at all. Then
    /// [`Choice::wait`](crate::Choice::wait) counts as a failure, and the failure policy decides.
    #[inline]
    #[must_use]
    pub fn may_wait_ms(&self) -> u64 {
        declared!("may_wait_ms");
        self.message.request.may_wait_ms
    }

    /// Input `held`: how many requests the router holds, this one included if it is held.
    #[inline]
    #[must_use]
    pub fn held(&self) -> u64 {
        declared!("held");
        self.message.request.held
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
