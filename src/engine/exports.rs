//! What a guest exports: looked up by name once per module, and by position in each instance.

use sgl_policy_abi::export;
use wasmtime::{Extern, Instance, Memory, Module, ModuleExport, Store, TypedFunc, WasmParams, WasmResults};

use crate::engine::error::CallError;
use crate::engine::sandbox::StoreData;

/// A guest function that takes a message and gives an answer.
pub(crate) enum AnswerFunc {
    /// `(ptr, len) -> i64`: pointer and length, the bytes stay the guest's.
    Packed(TypedFunc<(u32, u32), i64>),
    /// `(ptr, len) -> i32`: pointer to a length and the bytes, given back with `dealloc`.
    Prefixed(TypedFunc<(u32, u32), u32>),
}

/// A guest function that takes a message.
pub(crate) type TakingFunc = TypedFunc<(u32, u32), ()>;

/// A guest's `init`.
pub(crate) enum InitFunc {
    /// `()`
    Plain(TypedFunc<(), ()>),
    /// `(ptr, len) -> i64`: takes a message and answers.
    Answering(TypedFunc<(u32, u32), i64>),
}

/// The exports that answer a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `select_worker`
    Select,
    /// `select_worker_pair`
    SelectPair,
}

/// The exports that only take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// `on_workers`
    Workers,
    /// `on_first_token`
    FirstToken,
    /// `on_complete`
    Complete,
    /// `on_session_end`
    SessionEnd,
    /// `restore_state`
    RestoreState,
}

/// The functions of a guest that serves.
pub(crate) struct Exports {
    pub(crate) alloc: TypedFunc<u32, u32>,
    pub(crate) dealloc: TakingFunc,
    select_worker: AnswerFunc,
    select_worker_pair: Option<AnswerFunc>,
    on_workers: Option<TakingFunc>,
    on_first_token: Option<TakingFunc>,
    on_complete: Option<TakingFunc>,
    on_session_end: Option<TakingFunc>,
    pub(crate) save_state: Option<TypedFunc<(), i64>>,
    restore_state: Option<TakingFunc>,
}

impl Exports {
    #[inline]
    pub(crate) fn answering(&self, ask: Ask) -> Option<&AnswerFunc> {
        match ask {
            Ask::Select => Some(&self.select_worker),
            Ask::SelectPair => self.select_worker_pair.as_ref(),
        }
    }

    pub(crate) fn taking(&self, tell: Tell) -> Option<&TakingFunc> {
        match tell {
            Tell::Workers => self.on_workers.as_ref(),
            Tell::FirstToken => self.on_first_token.as_ref(),
            Tell::Complete => self.on_complete.as_ref(),
            Tell::SessionEnd => self.on_session_end.as_ref(),
            Tell::RestoreState => self.restore_state.as_ref(),
        }
    }
}

/// The positions of a module's exports: an instance finds them without comparing names.
pub(crate) struct Places {
    memory: Option<ModuleExport>,
    initialize: Option<ModuleExport>,
    init: Option<ModuleExport>,
    alloc: Option<ModuleExport>,
    dealloc: Option<ModuleExport>,
    select_worker: Option<ModuleExport>,
    select_worker_pair: Option<ModuleExport>,
    on_workers: Option<ModuleExport>,
    on_first_token: Option<ModuleExport>,
    on_complete: Option<ModuleExport>,
    on_session_end: Option<ModuleExport>,
    save_state: Option<ModuleExport>,
    restore_state: Option<ModuleExport>,
}

impl Places {
    pub(crate) fn of(module: &Module) -> Self {
        let place = |name| module.get_export_index(name);
        Self {
            memory: place(export::MEMORY),
            initialize: place(export::INITIALIZE),
            init: place(export::INIT),
            alloc: place(export::ALLOC),
            dealloc: place(export::DEALLOC),
            select_worker: place(export::SELECT_WORKER),
            select_worker_pair: place(export::SELECT_WORKER_PAIR),
            on_workers: place(export::ON_WORKERS),
            on_first_token: place(export::ON_FIRST_TOKEN),
            on_complete: place(export::ON_COMPLETE),
            on_session_end: place(export::ON_SESSION_END),
            save_state: place(export::SAVE_STATE),
            restore_state: place(export::RESTORE_STATE),
        }
    }
}

/// An instance whose exports are being looked up.
pub(crate) struct Lookup<'a> {
    pub(crate) places: &'a Places,
    pub(crate) guest: &'a Instance,
    pub(crate) store: &'a mut Store<StoreData>,
}

impl Lookup<'_> {
    /// The functions of a guest that serves.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] names what is missing.
    pub(crate) fn exports(&mut self) -> Result<Exports, CallError> {
        let places = self.places;
        Ok(Exports {
            alloc: self.func(&places.alloc).ok_or_else(|| missing(export::ALLOC))?,
            dealloc: self.func(&places.dealloc).ok_or_else(|| missing(export::DEALLOC))?,
            select_worker: self
                .answer(&places.select_worker)
                .ok_or_else(|| missing(export::SELECT_WORKER))?,
            select_worker_pair: self.answer(&places.select_worker_pair),
            on_workers: self.func(&places.on_workers),
            on_first_token: self.func(&places.on_first_token),
            on_complete: self.func(&places.on_complete),
            on_session_end: self.func(&places.on_session_end),
            save_state: self.func(&places.save_state),
            restore_state: self.func(&places.restore_state),
        })
    }

    /// Its linear memory.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] if it exports none.
    pub(crate) fn memory(&mut self) -> Result<Memory, CallError> {
        self.find(&self.places.memory).and_then(Extern::into_memory).ok_or_else(|| missing(export::MEMORY))
    }

    /// `_initialize`, if it has one.
    pub(crate) fn initialize(&mut self) -> Option<TypedFunc<(), ()>> {
        self.func(&self.places.initialize)
    }

    /// Its `init`, of either form.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] if it has none.
    pub(crate) fn init(&mut self) -> Result<InitFunc, CallError> {
        let places = self.places;
        let plain = self.func(&places.init).map(InitFunc::Plain);
        plain
            .or_else(|| self.func(&places.init).map(InitFunc::Answering))
            .ok_or_else(|| missing(export::INIT))
    }

    fn answer(&mut self, place: &Option<ModuleExport>) -> Option<AnswerFunc> {
        let packed = self.func(place).map(AnswerFunc::Packed);
        packed.or_else(|| self.func(place).map(AnswerFunc::Prefixed))
    }

    /// A function, if its signature is the wanted one.
    fn func<P: WasmParams, R: WasmResults>(
        &mut self,
        place: &Option<ModuleExport>,
    ) -> Option<TypedFunc<P, R>> {
        self.find(place)?.into_func()?.typed(&*self.store).ok()
    }

    fn find(&mut self, place: &Option<ModuleExport>) -> Option<Extern> {
        self.guest.get_module_export(&mut *self.store, place.as_ref()?)
    }
}

fn missing(name: &str) -> CallError {
    CallError::Refused { reason: format!("export `{name}` is missing or has another signature") }
}
