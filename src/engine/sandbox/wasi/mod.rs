//! System calls (WASI preview 1): what they work on, and the quota of the files that they make.
//!
//! Only this folder names wasmtime-wasi. In a build without the feature `wasi`, `no_wasi.rs` replaces
//! it: it offers the same names and refuses every one.
//!
//! ```text
//!  System ─┬─ WASI context ── guest_log: stdout and stderr
//!          └─ Tmp: directory, limits ── tmp_quota: what is in it
//!  imports ─┬─ link ─► wasmtime-wasi
//!           └─ tmp_calls: those that take space, charged first
//! ```

mod tmp_usage;
mod tmp_quota;
mod directory;
mod guest_log;
mod system;
mod tmp_calls;
mod imports;

pub(crate) use crate::engine::sandbox::wasi::directory::PrivateDirectory;
pub(crate) use crate::engine::sandbox::wasi::imports::{link, needs_host_futures};
pub(crate) use crate::engine::sandbox::wasi::system::System;
