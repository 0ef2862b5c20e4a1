//! Runs guests: compiled modules, pools of warm instances, calls under a budget.
//!
//! Only this folder names wasmtime. It knows nothing of plugin names, of files other than its own
//! compilation cache, of MessagePack or of HTTP: a message is bytes that one closure writes straight
//! into guest memory and another reads there.
//!
//! ```text
//!  Engine ── compile ──► Compiled (InstancePre) ──► Pool ── acquire ──► Lease ── call ──► answer
//!    ├─ Clock       one ticker thread, moves the epoch while calls are in flight
//!    ├─ Preparation few threads of low priority: compile, warm a new generation
//!    ├─ Background  one small runtime: makes and drops instances off the path, timers
//!    └─ Capacity    what the pooling allocator can hold; pools reserve their share
//! ```

pub(crate) mod error;
mod clock;
pub(crate) mod background;
mod preparation;
mod capacity;
pub(crate) mod deadline;
pub(crate) mod sandbox;
mod private_dir;
pub mod aot_cache;
pub(crate) mod compiler_process;
pub(crate) mod wasm_engine;
pub mod compile_worker;
pub(crate) mod exports;
pub(crate) mod compiled;
mod running;
pub(crate) mod lane;
mod instance;
pub(crate) mod making;
pub(crate) mod trial;
pub(crate) mod pool;

pub use crate::engine::compile_worker::CompileLimits;
pub use crate::engine::compiler_process::CompilerProcess;
pub use crate::engine::error::{CallError, EngineError};
pub use crate::engine::wasm_engine::EngineOptions;
