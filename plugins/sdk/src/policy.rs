//! What an author implements.

use alloc::vec::Vec;

use sgl_policy_abi::{Completion, FirstToken, Init};

use crate::choice::{Choice, PairChoice};
use crate::context::Context;
use crate::error::Error;
use crate::message::{Message, MessageError};
use crate::section::Declares;
use crate::table::Table;

/// A routing policy: one value per instance of the plugin.
///
/// Only [`Policy::init`] and [`Policy::select`] are required. What the host calls besides is in
/// traits of its own, one for each hook that [`export_policy!`](crate::export_policy) can list:
/// [`PairHook`], [`FirstTokenHook`], [`CompletionHook`], [`SessionEndHook`] and [`StateHook`]. A policy that
/// implements one without listing it, or lists one without implementing it, is not built.
pub trait Policy: Sized {
    /// Makes the policy out of its configuration; once per instance.
    ///
    /// # Errors
    /// A sentence for the operator; the plugin is not loaded.
    fn init(init: &Init) -> Result<Self, Error>;

    /// Decides one request.
    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice;

    /// The worker table changed; always before the first decision that uses the
    /// new one. A plugin exported `without_table` never hears of it.
    fn on_workers(&mut self, _table: &Table) {}
}

/// Hook `select_pair`: chooses a prefill and a decode worker together.
pub trait PairHook: Policy {
    /// Decides one request that a prefill and a decode worker serve together.
    fn select_pair(&mut self, ctx: &Context<'_, Self>) -> PairChoice;
}

/// Hook `on_first_token`: hears of streamed answers that have begun.
pub trait FirstTokenHook: Policy {
    /// The first event of a streamed answer came; its worker index belongs to `table`.
    fn on_first_token(&mut self, table: &Table, first: &FirstToken);
}

/// Hook `on_complete`: hears of finished requests.
pub trait CompletionHook: Policy {
    /// A request ended; its worker index belongs to `table`.
    fn on_complete(&mut self, table: &Table, completion: &Completion);
}

/// Hook `on_session_end`: hears of sessions that are over.
pub trait SessionEndHook: Policy {
    /// This session is over; it is what [`Context::session`] gave for its requests.
    fn on_session_end(&mut self, session: &str);
}

/// Hook `state`: carries what it has learnt into the next generation of the plugin.
pub trait StateHook: Policy {
    /// Appends to `out` what the next generation shall get.
    fn save_state(&mut self, out: &mut Vec<u8>);

    /// What the previous generation saved; after `init`, before the first
    /// decision. May come from another version of the policy: check it.
    fn restore_state(&mut self, saved: &[u8]);
}

/// Which optional exports a plugin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// `on_workers`: the plugin keeps the worker table.
    pub table: bool,
    /// `select_worker_pair`.
    pub select_pair: bool,
    /// `on_first_token`.
    pub on_first_token: bool,
    /// `on_complete`.
    pub on_complete: bool,
    /// `on_session_end`.
    pub on_session_end: bool,
    /// `save_state` and `restore_state`.
    pub state: bool,
}

impl Hooks {
    /// A plugin with the required exports, and the worker table.
    pub const DEFAULT: Self = Self {
        table: true,
        select_pair: false,
        on_first_token: false,
        on_complete: false,
        on_session_end: false,
        state: false,
    };

    /// Without [`Hooks::table`].
    #[must_use]
    pub const fn without_table(self) -> Self {
        Self { table: false, ..self }
    }

    /// With [`Hooks::select_pair`].
    #[must_use]
    pub const fn select_pair(self) -> Self {
        Self { select_pair: true, ..self }
    }

    /// With [`Hooks::on_first_token`].
    #[must_use]
    pub const fn on_first_token(self) -> Self {
        Self { on_first_token: true, ..self }
    }

    /// With [`Hooks::on_complete`].
    #[must_use]
    pub const fn on_complete(self) -> Self {
        Self { on_complete: true, ..self }
    }

    /// With [`Hooks::on_session_end`].
    #[must_use]
    pub const fn on_session_end(self) -> Self {
        Self { on_session_end: true, ..self }
    }

    /// With [`Hooks::state`].
    #[must_use]
    pub const fn state(self) -> Self {
        Self { state: true, ..self }
    }
}

/// A policy with its name; implemented by [`export_policy!`](crate::export_policy).
pub trait Plugin: Policy + Declares {
    /// Which optional exports it has.
    const HOOKS: Hooks;

    /// Reads every declared input, in order.
    #[doc(hidden)]
    fn read_inputs(message: &mut Message<'_>) -> Result<(), MessageError>;

    /// The same in the form that the router gives them; `None` if one has another.
    #[doc(hidden)]
    fn take_inputs(message: &mut Message<'_>) -> Option<()>;
}
