//! One live guest: its exports, its buffers, and calls into it.

use std::fmt;
use std::sync::Arc;

use sgl_policy_abi::unpack;
use wasmtime::{Memory, Store};

use crate::engine::background::ready;
use crate::engine::clock::CallMark;
use crate::engine::compiled::Compiled;
use crate::engine::deadline::{Allowance, Budget, Deadline, Stack};
use crate::engine::error::CallError;
use crate::engine::exports::{AnswerFunc, Ask, Exports, Tell};
use crate::engine::lane::Lane;
use crate::engine::running::{explain, run};
use crate::engine::sandbox::{HostServices, StoreData};

/// Largest answer that is accepted, in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = sgl_policy_abi::MAX_RESULT_BYTES;

/// Smallest input buffer: small tables fit without growing it.
const MIN_INPUT_BYTES: usize = 4096;

/// The input buffer that a guest gave us.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InputBuffer {
    pub(crate) pointer: u32,
    pub(crate) capacity: u32,
}

/// A live guest.
pub struct Instance {
    pub(crate) store: Store<StoreData>,
    pub(crate) memory: Memory,
    pub(crate) exports: Exports,
    pub(crate) input: InputBuffer,
    pub(crate) mark: Arc<CallMark>,
    pub(crate) compiled: Arc<Compiled>,
    /// What the layer above last told the guest: a version of the worker table.
    pub told_version: u64,
    pub(crate) calls: u64,
    /// Size of linear memory after warm-up, in bytes.
    pub(crate) warm_bytes: usize,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Instance {
    /// Takes the present memory size as the base from which growth is measured.
    pub(crate) fn settle(&mut self) {
        self.warm_bytes = self.memory_bytes();
        self.calls = 0;
    }

    /// Lets the host do other `services` for the guest; returns the earlier ones.
    pub(crate) fn swap_services(&mut self, services: Arc<dyn HostServices>) -> Arc<dyn HostServices> {
        std::mem::replace(&mut self.store.data_mut().services, services)
    }

    pub(crate) fn mark(&self) -> &Arc<CallMark> {
        &self.mark
    }

    /// True if the guest has this export.
    pub(crate) fn can_ask(&self, ask: Ask) -> bool {
        self.exports.answering(ask).is_some()
    }

    /// True if the guest has this export.
    pub(crate) fn can_tell(&self, tell: Tell) -> bool {
        self.exports.taking(tell).is_some()
    }

    /// True if a message of that size can be written without asking the guest for a buffer.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.input.capacity as usize
    }

    /// Size of the guest's linear memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// True if the last call took more than a tick.
    #[inline]
    pub(crate) fn overran(&self) -> bool {
        self.store.data().deadline.overran
    }

    /// True if the last call wanted more memory than the guest may have.
    #[inline]
    pub(crate) fn growth_refused(&self) -> bool {
        self.store.data().limits.refused
    }

    /// True if linear memory has grown by more than `bytes` since warm-up.
    #[inline]
    pub(crate) fn grew_beyond(&self, bytes: usize) -> bool {
        self.store.data().limits.grown_to > self.warm_bytes.saturating_add(bytes)
    }

    /// Begins a decision: everything until [`end`](Self::end) runs under one budget.
    #[inline]
    pub(crate) fn begin(&mut self, lane: Lane, allowance: Allowance) {
        let clock = &self.compiled.engine.clock;
        let budget = Budget::start(clock, allowance);
        clock.begin(&self.mark);
        let guest = self.store.data_mut();
        guest.deadline = Deadline::new(lane.stack(), budget);
        guest.limits.refused = false;
        self.store.set_epoch_deadline(budget.first_look());
    }

    /// Ends what [`begin`](Self::begin) began. Not reached by a cancelled call.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.compiled.engine.clock.end(&self.mark);
    }

    /// Makes the input buffer hold at least `bytes`, by asking the guest for a larger one.
    pub(crate) async fn reserve_input(&mut self, bytes: usize) -> Result<(), CallError> {
        if self.has_room(bytes) {
            return Ok(());
        }
        let limit_bytes = self.compiled.sandbox.max_memory_bytes();
        let wanted = bytes.max(MIN_INPUT_BYTES).checked_next_power_of_two().unwrap_or(bytes);
        let wanted = u32::try_from(wanted).map_err(|_| CallError::Memory { limit_bytes })?;
        let old = std::mem::take(&mut self.input);
        if old.capacity > 0 {
            let buffer = (old.pointer, old.capacity);
            run(&mut self.store, &self.compiled, &self.mark, &self.exports.dealloc, buffer).await?;
        }
        let pointer = run(&mut self.store, &self.compiled, &self.mark, &self.exports.alloc, wanted).await?;
        if pointer == 0 {
            return Err(CallError::Memory { limit_bytes });
        }
        let memory_bytes = self.memory_bytes();
        if pointer as usize + wanted as usize > memory_bytes {
            return Err(CallError::BadPointer { pointer, len: wanted, memory_bytes });
        }
        self.input = InputBuffer { pointer, capacity: wanted };
        Ok(())
    }

    /// Lets `write` fill the input buffer; it returns the bytes it used, or `None` if they did
    /// not fit.
    #[inline]
    pub(crate) fn write_input(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<u32, CallError> {
        let InputBuffer { pointer, capacity } = self.input;
        let memory = self.memory.data_mut(&mut self.store);
        let memory_bytes = memory.len();
        let buffer = memory
            .get_mut(pointer as usize..)
            .and_then(|rest| rest.get_mut(..capacity as usize))
            .ok_or(CallError::BadPointer { pointer, len: capacity, memory_bytes })?;
        let used = write(buffer).and_then(|used| u32::try_from(used).ok());
        used.ok_or(CallError::MessageTooLarge { capacity: capacity as usize })
    }

    /// Sends the `len` bytes of the input buffer to the guest and reads its answer.
    #[inline]
    pub(crate) async fn ask<R>(
        &mut self,
        ask: Ask,
        len: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        let message = (self.input.pointer, len);
        match self.exports.answering(ask) {
            Some(AnswerFunc::Packed(func)) => {
                let packed = run(&mut self.store, &self.compiled, &self.mark, func, message).await?;
                let (pointer, len) = unpack(packed);
                Ok(read(self.guest_bytes(pointer, len)?))
            }
            Some(AnswerFunc::Prefixed(func)) => {
                let pointer = run(&mut self.store, &self.compiled, &self.mark, func, message).await?;
                self.read_prefixed(pointer, read).await
            }
            None => Err(refused("the module has no such export")),
        }
    }

    /// Like [`ask`](Self::ask), on a lane whose guest runs on the caller's stack: there is nothing to
    /// await.
    #[inline]
    pub(crate) fn ask_now<R>(
        &mut self,
        ask: Ask,
        len: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        debug_assert!(self.store.data().deadline.stack() != Stack::Fiber);
        let message = (self.input.pointer, len);
        if let Some(AnswerFunc::Packed(func)) = self.exports.answering(ask) {
            let packed = func.call(&mut self.store, message);
            let packed = packed.map_err(|error| explain(&self.store, &error))?;
            let (pointer, len) = unpack(packed);
            return Ok(read(self.guest_bytes(pointer, len)?));
        }
        ready(self.ask(ask, len, read)).unwrap_or_else(|| Err(refused("the guest had to wait")))
    }

    /// Makes room for a message, sends it to the guest and reads its answer.
    pub(crate) async fn ask_message<R>(
        &mut self,
        ask: Ask,
        message: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        let len = self.put_message(message).await?;
        self.ask(ask, len, read).await
    }

    /// Makes room for a message and sends it to the guest; does nothing if it has no such export.
    pub(crate) async fn tell_message(&mut self, tell: Tell, message: &[u8]) -> Result<(), CallError> {
        let len = self.put_message(message).await?;
        self.tell(tell, len).await
    }

    /// Makes room for a message and copies it into the input buffer; returns its length.
    pub(crate) async fn put_message(&mut self, message: &[u8]) -> Result<u32, CallError> {
        self.reserve_input(message.len()).await?;
        self.write_input(|buffer| {
            buffer.get_mut(..message.len())?.copy_from_slice(message);
            Some(message.len())
        })
    }

    async fn read_prefixed<R>(
        &mut self,
        pointer: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        if pointer == 0 {
            return Ok(read(&[]));
        }
        let prefix = self.guest_bytes(pointer, 4)?;
        let len = prefix.try_into().map_or(0, u32::from_le_bytes);
        let memory_bytes = self.memory_bytes();
        let outside = CallError::BadPointer { pointer, len, memory_bytes };
        let (Some(start), Some(whole)) = (pointer.checked_add(4), len.checked_add(4)) else {
            return Err(outside);
        };
        let answer = read(self.guest_bytes(start, len)?);
        let buffer = (pointer, whole);
        run(&mut self.store, &self.compiled, &self.mark, &self.exports.dealloc, buffer).await?;
        Ok(answer)
    }

    /// Sends the `len` bytes of the input buffer to the guest; does nothing if it has no such export.
    pub(crate) async fn tell(&mut self, tell: Tell, len: u32) -> Result<(), CallError> {
        let Some(func) = self.exports.taking(tell) else { return Ok(()) };
        run(&mut self.store, &self.compiled, &self.mark, func, (self.input.pointer, len)).await
    }

    /// The guest's saved state; `None` if it has no `save_state`.
    pub(crate) async fn save_state(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        let Some(func) = &self.exports.save_state else { return Ok(None) };
        let (pointer, len) = unpack(run(&mut self.store, &self.compiled, &self.mark, func, ()).await?);
        Ok(Some(self.guest_bytes(pointer, len)?.to_vec()))
    }

    #[inline]
    pub(crate) fn guest_bytes(&self, pointer: u32, len: u32) -> Result<&[u8], CallError> {
        if len as usize > MAX_ANSWER_BYTES {
            return Err(CallError::AnswerTooLarge { len, limit: MAX_ANSWER_BYTES });
        }
        let memory = self.memory.data(&self.store);
        memory
            .get(pointer as usize..)
            .and_then(|rest| rest.get(..len as usize))
            .ok_or(CallError::BadPointer { pointer, len, memory_bytes: memory.len() })
    }
}

fn refused(reason: &str) -> CallError {
    CallError::Refused { reason: reason.to_owned() }
}
