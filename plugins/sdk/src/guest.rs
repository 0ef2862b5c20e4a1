//! A plugin's whole life behind its exports, without any pointer.
//!
//! The Wasm exports and the native test harness both drive this, so what is
//! tested natively is what runs in the router.

use alloc::vec::Vec;

use sgl_policy_abi::{
    Answer, AnswerMap, BatchEntry, Completion, EventBatch, FirstToken, Full, Init, PairMap, SessionEndBatch,
    Writer, encode_error, encode_to_vec,
};

use crate::choice::{Choice, PairChoice, signed};
use crate::context::Context;
use crate::host;
use crate::message::{Message, MessageError};
use crate::policy::{CompletionHook, FirstTokenHook, PairHook, Plugin, SessionEndHook, StateHook};
use crate::table::Table;

/// One instance of a plugin.
///
/// Every method takes a message as the host wrote it; answers are borrowed from
/// the guest's own output buffer and hold until the next call.
#[derive(Debug)]
pub struct Guest<P> {
    policy: Option<P>,
    table: Table,
    output: AnswerBuffer,
}

const NOT_READY: &str = "the plugin decides before `init` succeeded";

impl<P: Plugin> Guest<P> {
    /// A guest whose `init` was not called yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { policy: None, table: Table::new(), output: AnswerBuffer::new() }
    }

    /// Export `init`. Empty when ready.
    pub fn init(&mut self, message: &[u8]) -> &[u8] {
        self.policy = None;
        let made = match Init::decode(message) {
            Ok(init) => P::init(&init),
            Err(_) => Err("init message is malformed".into()),
        };
        match made {
            Ok(policy) => {
                self.policy = Some(policy);
                &[]
            }
            Err(error) => self.output.error(error.message()),
        }
    }

    /// Export `on_workers`. After a malformed message the guest keeps the table that it
    /// has; decisions that name the new version are refused.
    pub fn on_workers(&mut self, message: &[u8]) {
        match self.table.replace(message) {
            Ok(()) => {
                if let Some(policy) = &mut self.policy {
                    policy.on_workers(&self.table);
                }
            }
            Err(_) => host::log(host::Level::Error, "worker table message is malformed"),
        }
    }

    /// Export `select_worker`.
    #[inline]
    pub fn select(&mut self, message: &[u8]) -> &[u8] {
        let Self { policy, table, output } = self;
        let choice = match decide::<P, _>(message, table, policy, P::select) {
            Ok(choice) => choice,
            Err(error) => Choice::Failed(error),
        };
        match choice {
            Choice::Worker(worker) => output.small(|w| w.uint(wide(worker))),
            Choice::Ticketed(worker, ticket) => {
                output.small(|w| Answer::Ticketed { index: signed(worker), ticket }.encode(w))
            }
            Choice::Nobody => output.small(|w| w.nil()),
            Choice::Wait(wait) => output.map(AnswerMap { wait: Some(wait), ..AnswerMap::default() }),
            Choice::Shed(shed) => output.map(AnswerMap { shed: Some(shed), ..AnswerMap::default() }),
            Choice::Failed(error) => output.error(error),
            Choice::Explained(answer) => output.keep(answer.0),
        }
    }
}

impl<P: Plugin + PairHook> Guest<P> {
    /// Export `select_worker_pair`.
    #[inline]
    pub fn select_pair(&mut self, message: &[u8]) -> &[u8] {
        let Self { policy, table, output } = self;
        let choice = match decide::<P, _>(message, table, policy, P::select_pair) {
            Ok(choice) => choice,
            Err(error) => PairChoice::Failed(error),
        };
        match choice {
            PairChoice::Pair { prefill, decode } => output.small(|w| {
                w.array(2)?;
                w.uint(wide(prefill))?;
                w.uint(wide(decode))
            }),
            PairChoice::Ticketed { prefill, decode, ticket, decode_cost } => {
                let (prefill, decode) = (Some(signed(prefill)), Some(signed(decode)));
                output.pair_map(PairMap { prefill, decode, ticket, decode_cost, ..PairMap::default() })
            }
            PairChoice::Nobody => output.small(|w| w.nil()),
            PairChoice::Wait(wait) => output.pair_map(PairMap { wait: Some(wait), ..PairMap::default() }),
            PairChoice::Shed(shed) => output.pair_map(PairMap { shed: Some(shed), ..PairMap::default() }),
            PairChoice::Failed(error) => output.error(error),
            PairChoice::Explained(answer) => output.keep(answer.0),
        }
    }
}

impl<P: Plugin + FirstTokenHook> Guest<P> {
    /// Export `on_first_token`. A batch that belongs to another table is dropped.
    pub fn on_first_token(&mut self, message: &[u8]) {
        let Self { policy, table, .. } = self;
        each::<P, FirstToken>(policy, table, message, P::on_first_token);
    }
}

impl<P: Plugin + CompletionHook> Guest<P> {
    /// Export `on_complete`. A batch that belongs to another table is dropped.
    pub fn on_complete(&mut self, message: &[u8]) {
        let Self { policy, table, .. } = self;
        each::<P, Completion>(policy, table, message, P::on_complete);
    }
}

impl<P: Plugin + SessionEndHook> Guest<P> {
    /// Export `on_session_end`. What is malformed is left out.
    pub fn on_session_end(&mut self, message: &[u8]) {
        let (Some(policy), Ok(batch)) = (&mut self.policy, SessionEndBatch::decode(message)) else { return };
        batch.iter().flatten().for_each(|session| policy.on_session_end(session));
    }
}

impl<P: Plugin + StateHook> Guest<P> {
    /// Export `save_state`.
    pub fn save_state(&mut self) -> &[u8] {
        let saved = &mut self.output.large;
        saved.clear();
        if let Some(policy) = &mut self.policy {
            policy.save_state(saved);
        }
        saved
    }

    /// Export `restore_state`.
    pub fn restore_state(&mut self, saved: &[u8]) {
        if let Some(policy) = &mut self.policy {
            policy.restore_state(saved);
        }
    }
}

impl<P: Plugin> Default for Guest<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells the policy of each entry of a batch.
fn each<P: Plugin, E: BatchEntry>(
    policy: &mut Option<P>,
    table: &Table,
    message: &[u8],
    tell: impl Fn(&mut P, &Table, &E),
) {
    let (Some(policy), Ok(batch)) = (policy, EventBatch::<E>::decode(message)) else { return };
    if P::HOOKS.table && batch.table() != table.version() {
        return;
    }
    // The first malformed entry ends the batch.
    batch.iter().map_while(Result::ok).for_each(|entry| tell(policy, table, &entry));
}

/// Reads the message where it lies and asks the policy. The message is not moved
/// once it is read: copying it would cost more than reading it.
#[inline]
fn decide<P: Plugin, C>(
    message: &[u8],
    table: &Table,
    policy: &mut Option<P>,
    select: impl FnOnce(&mut P, &Context<'_, P>) -> C,
) -> Result<C, &'static str> {
    let policy = policy.as_mut().ok_or(NOT_READY)?;
    let told = P::HOOKS.table.then_some(table);
    let mut taken = Message::new(message);
    if take::<P>(&mut taken, told).is_none() {
        taken = read::<P>(message, told).map_err(MessageError::message)?;
    }
    Ok(select(policy, &Context::new(&taken, table)))
}

/// Takes a message in the form that the router gives it.
#[inline(always)]
fn take<P: Plugin>(message: &mut Message<'_>, table: Option<&Table>) -> Option<()> {
    message.take_head(P::MANIFEST.inputs.len(), table)?;
    P::take_inputs(message)?;
    message.close().ok()
}

/// Reads a message in any form, or says what is wrong with it.
#[cold]
#[inline(never)]
fn read<'a, P: Plugin>(bytes: &'a [u8], table: Option<&Table>) -> Result<Message<'a>, MessageError> {
    let mut message = Message::new(bytes);
    message.open(P::MANIFEST.inputs.len(), table)?;
    P::read_inputs(&mut message)?;
    message.close()?;
    Ok(message)
}

/// An index for the wire. `usize` is never wider than 64 bits here.
#[inline]
fn wide(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

/// Where answers stay until the next call.
#[derive(Debug)]
struct AnswerBuffer {
    /// An index, nil, an index with its ticket (at most 1 + 9 + 9 + 5 bytes), a pair of indices, or a
    /// pair with its ticket: four keys of a byte more than their letters, five values, and the header.
    small: [u8; 80],
    large: Vec<u8>,
}

impl AnswerBuffer {
    const fn new() -> Self {
        Self { small: [0; 80], large: Vec::new() }
    }

    #[inline]
    fn small(&mut self, encode: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>) -> &[u8] {
        let mut w = Writer::new(&mut self.small);
        let written = encode(&mut w).map_or(0, |()| w.position());
        self.small.get(..written).unwrap_or_default()
    }

    fn map(&mut self, map: AnswerMap<'_>) -> &[u8] {
        self.small(|w| map.encode(w))
    }

    fn pair_map(&mut self, map: PairMap<'_>) -> &[u8] {
        self.small(|w| map.encode(w))
    }

    #[cold]
    fn error(&mut self, message: &str) -> &[u8] {
        self.keep(encode_to_vec(|w| encode_error(w, message)).unwrap_or_default())
    }

    fn keep(&mut self, encoded: Vec<u8>) -> &[u8] {
        self.large = encoded;
        &self.large
    }
}
