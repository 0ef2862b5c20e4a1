//! What can be set for a plugin.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sgl_policy_abi::host_function;

use crate::config::rollout::{ProbationOptions, Rollout};

/// What to load, and within which limits.
///
/// These six fields are all that a plugin needs; everything else has a default and lives in
/// [`PluginOptions`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WasmPolicyConfig {
    /// Path of the `.wasm` file.
    pub module_path: String,
    /// Name of the policy: 1 to 64 letters, digits, `_`, `-`, `.`; not a built-in policy's.
    pub name: String,
    /// Time in which the guest may run in one call, in milliseconds: 1 to 30,000. Waiting for an
    /// instance has its own bound, [`PluginOptions::max_wait_ms`].
    pub max_execution_time_ms: u64,
    /// Linear memory of one instance in bytes: 65,536 (one page) to 104,857,600 (100 MB).
    pub max_memory_bytes: usize,
    /// WASI preview 1 functions that the module may import, such as `clock_time_get`. Empty =
    /// none. `sock_*` and `proc_raise` are refused.
    pub allowed_syscalls: Vec<String>,
    /// The plugin's own configuration.
    pub config: HashMap<String, serde_json::Value>,
}

impl WasmPolicyConfig {
    /// Default budget of a call: 10 ms.
    pub const DEFAULT_EXECUTION_TIME_MS: u64 = 10;
    /// Default memory of an instance: 16 MiB.
    pub const DEFAULT_MEMORY_BYTES: usize = 16 << 20;

    /// The defaults for routing: 10 ms, 16 MiB, no system calls, no configuration.
    pub fn new(name: impl Into<String>, module_path: impl Into<String>) -> Self {
        Self {
            module_path: module_path.into(),
            name: name.into(),
            max_execution_time_ms: Self::DEFAULT_EXECUTION_TIME_MS,
            max_memory_bytes: Self::DEFAULT_MEMORY_BYTES,
            allowed_syscalls: Vec::new(),
            config: HashMap::new(),
        }
    }
}

/// Whether instances are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A warm instance serves many decisions. The default.
    #[default]
    Reuse,
    /// Every decision gets a pre-warmed instance that no request has used before. Costs an
    /// instantiation (tens of microseconds, in the background) for each decision.
    Fresh,
}

/// How asynchronous callers run the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Lane))]
#[serde(rename_all = "lowercase")]
pub enum LaneOption {
    /// On a fiber that yields to the async runtime at every tick. The default.
    #[default]
    Fiber,
    /// On the caller's stack, which is more than 100 ns faster, until a call of this generation takes
    /// more than a tick; then on a fiber, until hundreds of calls in a row were short. A long call on
    /// the caller's stack keeps its runtime thread busy for two ticks; if the runtime is a
    /// multi-threaded one of tokio, another thread then takes over the other work of that thread.
    Adaptive,
}

/// What happens to a request whose plugin failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// The `fallback` policy decides. The default.
    #[default]
    Fallback,
    /// There is no decision, and the request is refused.
    Reject,
}

/// What a load does if the name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum IfLoaded {
    /// A new generation replaces the old one, atomically. The default.
    #[default]
    Replace,
    /// The load is refused as a duplicate.
    Refuse,
}

/// When a plugin that keeps failing is taken out of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BreakerOptions {
    /// Failures in a row that open the breaker; 0 = never. Default: 5.
    pub failures: u32,
    /// Time that calls which run out of their budget may take together, in percent of one core over five
    /// seconds. More also opens the breaker, whatever succeeds in between. 0 = no limit. Default: 10.
    pub max_lost_percent: u32,
    /// First pause in milliseconds; each failed probe doubles it. Default: 500.
    pub backoff_ms: u64,
    /// Longest pause in milliseconds. Default: 30,000.
    pub max_backoff_ms: u64,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 5, max_lost_percent: 10, backoff_ms: 500, max_backoff_ms: 30_000 }
    }
}

/// Everything else that an operator may set for a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PluginOptions {
    /// What a load does if the name is taken. Default: `replace`.
    pub if_loaded: IfLoaded,
    /// SHA-256 that the module must have: 64 hex digits, `sha256:` before them is fine.
    /// Default: any.
    pub digest: Option<String>,
    /// Instances to keep ready: 1 to `max_instances`. Each costs the memory that it touches (about 100
    /// KiB for a small plugin). Default: 2.
    pub min_warm: usize,
    /// Most instances: 1 to 1000. Each reserves address space, twice while a generation replaces
    /// another. Default: twice the cores, at least 4, at most 64. A `serial` plugin has one.
    pub max_instances: usize,
    /// Callers that may wait for an instance; more go to the failure policy at once: 0 to
    /// 1,000,000. Default: 8192.
    pub max_waiting: usize,
    /// How long a caller may wait for an instance, in milliseconds: 0 to 60,000. A decision takes at
    /// most this and `max_execution_time_ms`. Default: 100.
    pub max_wait_ms: u64,
    /// Whether instances are used again. Default: `reuse`.
    pub isolation: Isolation,
    /// How asynchronous callers run the guest. Default: `fiber`.
    pub lane: LaneOption,
    /// What happens to a request whose plugin failed. Default: `fallback`.
    pub on_failure: FailurePolicy,
    /// Whether it may choose nobody on purpose, to shed load: the request is then refused. Otherwise
    /// choosing nobody is a failure (`no_choice`) if a worker could be chosen. Default: false.
    pub may_refuse: bool,
    /// After how many answers in a row that still have their requests wait no further one of those that
    /// wait is asked, until something changes again: 1 to 1000. Default: 8.
    pub reasks: u32,
    /// The built-in policy that decides instead. Default: `round_robin`.
    pub fallback: String,
    /// When a plugin that keeps failing is taken out of the path.
    pub breaker: BreakerOptions,
    /// Calls after which an instance is replaced in the background, give or take a tenth;
    /// 0 = never. Default: 10,000,000.
    pub recycle_after_calls: u64,
    /// Seconds after which an instance is replaced, give or take a tenth; 0 = never.
    /// Default: 3600.
    pub recycle_after_secs: u64,
    /// Growth of linear memory since warm-up after which an instance is replaced, in bytes;
    /// 0 = never. Default: 1 MiB.
    pub recycle_growth_bytes: usize,
    /// Bytes of keys and values that the map may hold which the plugin's instances share: 0 to
    /// 268,435,456 (256 MiB). They count from the moment that the plugin decides; what is there already
    /// stays. Default: 1 MiB.
    pub max_map_bytes: usize,
    /// Entries that this map may have: 0 to 262,144. Each costs some hundred bytes besides. Default:
    /// 16,384.
    pub max_map_entries: usize,
    /// Bytes that all files in the plugin's private directory may have together, holes included: 0
    /// to 1,073,741,824 (1 GiB). Without a `path_*` system call there is no such directory.
    /// Default: 16 MiB.
    pub max_tmp_bytes: u64,
    /// Files, directories and links that may be in it: 0 to 10,000. Each may cost a block of the
    /// file system more than its bytes. Default: 256.
    pub max_tmp_files: u64,
    /// Headers with credentials, such as `authorization`, that the module may declare as inputs. All
    /// other headers need no permission. Default: none.
    pub allowed_secret_headers: Vec<String>,
    /// Whether a new generation must pass a decision over made-up workers before it is used.
    /// Default: true.
    pub self_test: bool,
    /// How a new generation takes over from one that serves. Default: at once.
    pub rollout: Rollout,
    /// When a generation that has just taken over is rolled back.
    pub probation: ProbationOptions,
    /// Seconds after which a replaced generation that calls still hold is reported. Default: 30.
    pub drain_report_secs: u64,
}

impl PluginOptions {
    /// Default for bytes in the shared map: 1 MiB.
    pub const DEFAULT_MAP_BYTES: usize = host_function::KV_TOTAL_BYTES;
    /// Default for entries in the shared map: 16,384.
    pub const DEFAULT_MAP_ENTRIES: usize = host_function::KV_ENTRIES;
    /// Default for bytes in the private directory: 16 MiB.
    pub const DEFAULT_TMP_BYTES: u64 = 16 << 20;
    /// Default for answers in a row that have their requests wait: 8. In simulations of `late` fewer left
    /// workers idle that a request further back would have taken, and more changed nothing.
    pub const DEFAULT_REASKS: u32 = 8;
    /// Default for files in the private directory: 256.
    pub const DEFAULT_TMP_FILES: u64 = 256;
}

impl Default for PluginOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            if_loaded: IfLoaded::default(),
            digest: None,
            min_warm: 2,
            max_instances: (2 * cores).clamp(4, 64),
            max_waiting: 8192,
            max_wait_ms: 100,
            isolation: Isolation::default(),
            lane: LaneOption::default(),
            on_failure: FailurePolicy::default(),
            may_refuse: false,
            reasks: Self::DEFAULT_REASKS,
            fallback: "round_robin".to_owned(),
            breaker: BreakerOptions::default(),
            recycle_after_calls: 10_000_000,
            recycle_after_secs: 3600,
            recycle_growth_bytes: 1 << 20,
            max_map_bytes: Self::DEFAULT_MAP_BYTES,
            max_map_entries: Self::DEFAULT_MAP_ENTRIES,
            max_tmp_bytes: Self::DEFAULT_TMP_BYTES,
            max_tmp_files: Self::DEFAULT_TMP_FILES,
            allowed_secret_headers: Vec::new(),
            self_test: true,
            rollout: Rollout::default(),
            probation: ProbationOptions::default(),
            drain_report_secs: 30,
        }
    }
}
