//! Envoy's dynamic module: the host of a request is chosen by a WebAssembly plugin, in Envoy's own threads.
//!
//! ```text
//!  Envoy ──event hooks──► entry_points ──► ClusterPolicy (one per cluster: plugin, watcher of its file)
//!    ▲                                          │
//!    └──callbacks── abi ◄── Balancer (one per worker thread: hosts as workers) ──► PolicyHandle
//! ```
//!
//! Unsafe code is in [`abi`], which declares what of Envoy's ABI is used and wraps it, and in `entry_points`,
//! which Envoy calls. Nothing else knows pointers. A panic never leaves the module.

pub mod abi;
mod envoy_version;
mod envoy_log;
mod settings;
mod host_worker;
mod host_list;
mod request_facts;
mod cluster_metrics;
mod watched_module;
mod cluster_policy;
mod balancer;
mod entry_points;
