//! Flags about policies and their numbers.

use crate::cli::foreign::flag::FlagOwner::{Both, Sglang, SglangDocuments, Smg, Vllm, VllmBinary};
use crate::cli::foreign::flag::FlagValues::{Many, Nothing, One};
use crate::cli::foreign::flag::{ForeignFlag, ignored, means, refused, same};

/// How the halves of a pair are chosen: by one policy, which the prefill half names where nothing else does.
const PREFILL: &str = "one policy chooses both halves of a pair: without `--policy` it is this one; beside another \
                       one it is accepted with a warning; see `pd_pair`, which weighs the work of each half";
const DECODE: &str = "one policy chooses both halves of a pair, by `--policy` or else `--prefill-policy`: another one \
                      is accepted with a warning; see `pd_pair`, which weighs the work of each half";
/// Who knows what engines hold.
const EVENTS: &str = "where an engine publishes its events is found by asking it; leave it out";
/// What `kv_aware` goes by.
const COSTS: &str = "`kv_aware` weighs by other numbers, see docs/policies/kv_aware.md; leave it out";
/// When the index of prefixes forgets.
const EVICTION: &str = "the index of prefixes makes room whenever it needs some; leave it out";
/// What schedules agents' programs.
const PROGRAMS: &str = "programs of agents are not scheduled; `sticky_least_loaded` keeps a session at its \
                        worker, and a plugin may have requests wait";

pub(crate) const OF_POLICIES: &[ForeignFlag] = &[
    same("policy", Both, "names: see [below](#policies)").defaults("`cache_aware`", "`round_robin`"),
    means("prefill-policy", Both, One, PREFILL),
    means("decode-policy", Both, One, DECODE),
    means("cache-threshold", Both, One, "`cache_threshold` of `cache_aware`; a warning with another policy")
        .defaults("0.3", "0.5"),
    means(
        "balance-abs-threshold",
        Both,
        One,
        "`balance_abs_threshold` of `cache_aware`; a warning with another policy",
    )
    .defaults("64", "32"),
    means(
        "balance-rel-threshold",
        Both,
        One,
        "`balance_rel_threshold` of `cache_aware`; a warning with another policy",
    )
    .defaults("1.5", "1.1"),
    ignored("eviction-interval-secs", Both, One, EVICTION),
    ignored("eviction-interval", VllmBinary, One, EVICTION),
    ignored(
        "max-tree-size",
        Both,
        One,
        "the index of prefixes is bounded in bytes: `prefix_index_max_bytes` of `[requests]`",
    ),
    means("max-idle-secs", Sglang, One, "`idle_secs` of `manual`; a warning with another policy"),
    ignored(
        "assignment-mode",
        Sglang,
        One,
        "`manual` gives a new key to the worker with the fewest keys, which is `min_group`",
    )
    .defaults("`random`", "`min_group`"),
    ignored(
        "bucket-adjust-interval-secs",
        Sglang,
        One,
        "there is no policy `bucket`; `token_pools` keeps short and long requests apart",
    ),
    ignored(
        "prefix-token-count",
        Smg,
        One,
        "`prefix_hash` is `prefix_affinity` here: how much of a prompt finds its home is its `prefix_bytes`, in bytes",
    ),
    ignored(
        "prefix-hash-load-factor",
        Smg,
        One,
        "`prefix_hash` is `prefix_affinity` here: when a worker is overloaded say its `factor` and `slack`",
    ),
    ignored("router-temperature", Vllm, One, COSTS),
    ignored("kv-penalty-host", Vllm, One, COSTS),
    ignored("kv-penalty-external", Vllm, One, COSTS),
    ignored("kv-penalty-disk", Vllm, One, COSTS),
    ignored(
        "kv-aware-session-affinity-ttl-secs",
        Vllm,
        One,
        "`kv_aware` keeps no sessions; `sticky_least_loaded` does, for its `idle_secs`",
    ),
    ignored("kv-event-source", Vllm, Many, EVENTS),
    ignored("kv-event-replay-source", Vllm, Many, EVENTS),
    ignored("kv-event-block-size", Vllm, One, EVENTS),
    ignored("kv-event-model", Vllm, One, EVENTS),
    ignored("pd-kv-events", Vllm, Many, EVENTS),
    refused("enable-program-scheduling", Vllm, Nothing, PROGRAMS),
    refused("program-scheduling-config-json", Vllm, One, PROGRAMS),
    refused(
        "wasm-middleware",
        Vllm,
        One,
        "that looks at requests by another contract; a policy is a plugin here: `--plugin NAME=FILE`",
    ),
    refused("wasm-middleware-sha256", Vllm, One, "a plugin's digest stands in its `options.digest`"),
    refused("wasm-middleware-route", Vllm, Many, "there is no middleware; a policy is a plugin here"),
    refused(
        "enable-wasm",
        SglangDocuments,
        Nothing,
        "that has middleware loaded by `POST /wasm`; a policy is a plugin here: `--plugin NAME=FILE`, or \
         `sgl-router plugin push`",
    ),
];
