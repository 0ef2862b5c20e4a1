//! Routing policies as sandboxed, hot-swappable WebAssembly plugins.
//!
//! A router asks a policy which worker gets a request. Here a policy is a plugin: a WebAssembly
//! module that runs in this process, on warm instances, within limits of time and memory, and that
//! is replaced by loading its name again.
//!
//! ```no_run
//! use sglang_router_rs::core::{Fleet, WorkerSpec};
//! use sglang_router_rs::policies::{PolicyFactory, SelectWorkerInfo, WasmPolicyConfig};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let fleet = Fleet::new();
//!     for url in ["http://10.0.0.1:30000", "http://10.0.0.2:30000"] {
//!         fleet.add(WorkerSpec::new(url), true)?;
//!     }
//!     let mut factory = PolicyFactory::new();
//!     let config = WasmPolicyConfig::new("my_policy", "dist/plugins/least_connections.wasm");
//!     factory.load_wasm_plugin(config.clone()).await?;
//!     let policy = factory.create_by_name("my_policy").ok_or("it is loaded")?;
//!
//!     let table = fleet.table();
//!     let first = policy.decide_async(&table, &SelectWorkerInfo::default()).await?;
//!     // Loading the name again replaces the plugin at once; `policy` follows.
//!     factory.load_wasm_plugin(config).await?;
//!     let second = policy.decide_async(&table, &SelectWorkerInfo::default()).await?;
//!     for decision in [&first, &second] {
//!         let worker = table.get(decision.index()).ok_or("it is in the table")?;
//!         println!("{} by {:?}", worker.spec().url, decision.chooser());
//!     }
//!     Ok(()) // A decision counts its request as in flight until it is dropped: here.
//! }
//! ```
//!
//! - [`policies::PolicyFactory`] makes policies by name: built-in ones, and plugins that were loaded.
//! - [`policies::PolicyHandle`] decides: over a [`core::WorkerTable`] (the fast form), or over a slice
//!   of an embedder's own [`core::Worker`]s; on the caller's thread or as a future; one worker or a prefill
//!   and decode pair.
//! - [`policies::Decision`] counts its request as in flight until it is dropped.
//! - [`policies::WasmPolicyConfig`] and [`policies::PluginOptions`] set limits and behaviour.
//! - [`policies::PluginError`] says why a plugin was not loaded, [`policies::DecideError`] why there
//!   is no decision. A plugin that fails is replaced for that request by its fallback policy.
//!
//! Synchronous decisions need no async runtime. Asynchronous ones run on the caller's, whichever it
//! is; what the engine does by itself, it does on threads of its own.
//!
//! # Features
//!
//! - `wasi` (default): system calls (WASI preview 1) for plugins that are allowed some. Without it, a
//!   plugin that is allowed a system call, or a module that imports one, is refused.
//! - `signatures` (default): signed modules. Without it, a rule of a [`policies::TrustPolicy`] that
//!   requires signatures refuses every module, and no module counts as verified.
//! - `openapi`: descriptions of the types that an API may show.
//!
//! This crate decides and knows no HTTP. The router around it is the package `sgl-router`.
//!
//! # Documents
//!
//! `docs/wasm_plugins.md` (authors and operators), `docs/plugin-abi.md` (the wire contract),
//! `docs/architecture.md` (how and why), `docs/operations.md` (the router).

pub mod types;
pub mod prefix_index;
pub mod config;
pub mod core;
pub mod engine;
pub mod policies;

/// What this crate's own benchmarks, fuzz targets and tests read besides.
///
/// It is no part of the interface and promises nothing: what is here may change or go with any
/// version.
#[doc(hidden)]
pub mod internals {
    pub use crate::engine::compiled::Compiled;
    pub use crate::engine::making::InitAnswer;
    pub use crate::engine::pool::instance_pool::Pool;
    pub use crate::engine::pool::options::PoolOptions;
    pub use crate::engine::pool::recipe::{PoolTally, Recipe};
    pub use crate::engine::sandbox::plugin_sandbox::SandboxSpec;
    pub use crate::engine::sandbox::services::HostServices;
    pub use crate::engine::sandbox::tmp_limits::TmpLimits;
    pub use crate::engine::trial::Trial;
    pub use crate::engine::wasm_engine::Engine;
    pub use crate::policies::wasm::message::draw::Draw;
    pub use crate::policies::wasm::message::reply::decode_choice;
    pub use crate::policies::wasm::message::wire_plan::WirePlan;
}
