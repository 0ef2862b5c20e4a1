//! The plugin ABI, version 1: what crosses the boundary between the router
//! (host) and a policy plugin (guest), as types and MessagePack codecs.
//!
//! Both sides use the same functions, so they cannot disagree. The crate is
//! `no_std`, has no dependencies by default, and knows nothing of Wasm engines,
//! HTTP or policies. Readers treat every byte as hostile: malformed input is an
//! error value, never a panic, and a claimed length never decides how much is
//! allocated. Writers never allocate; they fill a slice that they were given.
//!
//! | message | direction | here |
//! |---|---|---|
//! | manifest | custom section [`MANIFEST_SECTION`] | [`Manifest`] |
//! | `init` | host to guest, and back | [`Init`], [`init_error`] |
//! | `on_workers` | host to guest | [`encode_table`], [`TableMessage`] |
//! | `select_worker`, columns | host to guest | [`Writer`] and [`Reader`], in the order of [`Input`]s |
//! | `select_worker`, rows | host to guest | [`encode_rows`], [`RowsMessage`] |
//! | answers | guest to host | [`Answer`], [`PairAnswer`] |
//! | `on_first_token` | host to guest | [`encode_first_tokens`], [`FirstTokenBatch`] |
//! | `on_complete` | host to guest | [`encode_completions`], [`CompletionBatch`] |
//! | `on_session_end` | host to guest | [`encode_session_ends`], [`SessionEndBatch`] |
#![no_std]

extern crate alloc;
#[cfg(feature = "openapi")]
extern crate std;

mod kind;
mod names;

mod error;

mod token;

mod reader;
mod value;
mod writer;

mod ticket;

mod put_off;

mod answer;
mod batch;
mod column;
mod completion;
mod first_token;
mod init;
mod input;
mod leg;
mod manifest;
mod pair;
mod rows;
mod session_end;
mod worker_role;
mod known_models;
mod table;

#[cfg(feature = "serde")]
mod value_serde;

pub use crate::answer::{Answer, AnswerMap};
pub use crate::batch::{BatchEntry, EventBatch};
pub use crate::column::{Column, ColumnNumber};
pub use crate::completion::{Completion, CompletionBatch, encode_completions};
pub use crate::error::{DecodeError, Expected, Full, Key};
pub use crate::first_token::{FirstToken, FirstTokenBatch, encode_first_tokens};
pub use crate::init::{Init, encode_error, init_error};
pub use crate::input::{ColumnWidth, Input, UnknownInput};
pub use crate::kind::Kind;
pub use crate::known_models::{KnownModels, MAX_MODEL_NAME_BYTES, MAX_MODEL_NAMES};
pub use crate::leg::Leg;
pub use crate::manifest::{Concurrency, MAX_INPUTS, Manifest, ManifestError, Wire};
pub use crate::names::{
    ABI_VERSION, HOST_MODULE, MANIFEST_SECTION, MAX_RESULT_BYTES, WASI_MODULE, export, host_function, pack,
    unpack,
};
pub use crate::pair::{PairAnswer, PairMap};
pub use crate::put_off::{ShedAnswer, WaitAnswer};
pub use crate::reader::{MAX_DEPTH, Reader};
pub use crate::rows::{RowWorker, RowsMessage, encode_rows};
pub use crate::session_end::{SessionEndBatch, encode_session_ends};
pub use crate::table::{KnownEngine, Labels, TableMessage, WorkerFacts, encode_table, encode_worker};
pub use crate::ticket::{MAX_COST, Ticket};
pub use crate::value::{Map, Value};
pub use crate::worker_role::WorkerRole;
pub use crate::writer::{Writer, encode_to_vec};
