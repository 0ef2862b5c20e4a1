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
//! | `on_complete` | host to guest | [`encode_completions`], [`CompletionBatch`] |
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

mod answer;
mod column;
mod completion;
mod init;
mod input;
mod leg;
mod manifest;
mod pair;
mod rows;
mod worker_role;
mod table;

#[cfg(feature = "serde")]
mod value_serde;

pub use crate::answer::Answer;
pub use crate::answer::AnswerMap;
pub use crate::column::Column;
pub use crate::column::ColumnNumber;
pub use crate::completion::Completion;
pub use crate::completion::CompletionBatch;
pub use crate::completion::encode_completions;
pub use crate::error::DecodeError;
pub use crate::error::Expected;
pub use crate::error::Full;
pub use crate::error::Key;
pub use crate::init::Init;
pub use crate::init::encode_error;
pub use crate::init::init_error;
pub use crate::input::ColumnWidth;
pub use crate::input::Input;
pub use crate::input::UnknownInput;
pub use crate::kind::Kind;
pub use crate::leg::Leg;
pub use crate::manifest::Concurrency;
pub use crate::manifest::MAX_INPUTS;
pub use crate::manifest::Manifest;
pub use crate::manifest::ManifestError;
pub use crate::manifest::Wire;
pub use crate::names::ABI_VERSION;
pub use crate::names::HOST_MODULE;
pub use crate::names::MANIFEST_SECTION;
pub use crate::names::MAX_RESULT_BYTES;
pub use crate::names::WASI_MODULE;
pub use crate::names::export;
pub use crate::names::host_function;
pub use crate::names::pack;
pub use crate::names::unpack;
pub use crate::pair::PairAnswer;
pub use crate::pair::PairMap;
pub use crate::reader::MAX_DEPTH;
pub use crate::reader::Reader;
pub use crate::rows::RowWorker;
pub use crate::rows::RowsMessage;
pub use crate::rows::encode_rows;
pub use crate::table::Labels;
pub use crate::table::TableMessage;
pub use crate::table::WorkerFacts;
pub use crate::table::encode_table;
pub use crate::table::encode_worker;
pub use crate::value::Map;
pub use crate::value::Value;
pub use crate::worker_role::WorkerRole;
pub use crate::writer::Writer;
pub use crate::writer::encode_to_vec;
