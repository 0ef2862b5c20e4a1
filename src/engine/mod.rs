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

pub mod error;
pub mod clock;
pub mod background;
pub mod preparation;
pub mod capacity;
pub mod deadline;
pub mod sandbox;
pub(crate) mod private_dir;
pub mod aot_cache;
pub mod compiler_process;
pub mod wasm_engine;
pub mod compile_worker;
pub mod exports;
pub mod compiled;
pub(crate) mod running;
pub mod lane;
pub mod instance;
pub mod making;
pub mod trial;
pub mod pool;

pub use crate::engine::compile_worker::CompileLimits;
pub use crate::engine::compiled::Compiled;
pub use crate::engine::compiler_process::CompilerProcess;
pub use crate::engine::error::{CallError, EngineError};
pub use crate::engine::pool::{Lease, Pool, PoolOptions};
pub use crate::engine::sandbox::{HostServices, SandboxSpec, TmpLimits};
pub use crate::engine::wasm_engine::{Engine, EngineOptions};
