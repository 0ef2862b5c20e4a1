//! What the flags of other routers do here.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::cli::foreign::flag::FlagFate;
use crate::cli::foreign::given::ForeignArgs;
use crate::config::engine_setting::EngineSetting;
use crate::config::other_names;
use crate::config::other_names::OtherKind;
use crate::config::router::RouterConfig;
use sglang_router_rs::config::Fault;
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::NativePolicy;

/// A number of a policy.
struct PolicyNumber {
    flag: &'static str,
    /// The key of the policy's settings.
    key: &'static str,
    /// The policies that have it.
    policies: &'static [&'static str],
    /// What it may be.
    range: RangeInclusive<f64>,
    /// What it is without the flag.
    default: &'static str,
}

const POLICY_NUMBERS: [PolicyNumber; 4] = [
    PolicyNumber {
        flag: "cache-threshold",
        key: "cache_threshold",
        policies: &["cache_aware"],
        range: 0.0..=1.0,
        default: "0.5",
    },
    PolicyNumber {
        flag: "balance-abs-threshold",
        key: "balance_abs_threshold",
        policies: &["cache_aware"],
        // More requests than a router has in flight: it never counts.
        range: 0.0..=1e9,
        default: "32",
    },
    PolicyNumber {
        flag: "balance-rel-threshold",
        key: "balance_rel_threshold",
        policies: &["cache_aware"],
        range: 1.0..=1e9,
        default: "1.1",
    },
    PolicyNumber {
        flag: "max-idle-secs",
        key: "idle_secs",
        policies: &["manual", "sticky_least_loaded"],
        range: 1.0..=1e6,
        default: "the policy's own",
    },
];

/// Characters that are shown of a value that is no such number.
const MAX_SHOWN: usize = 40;

/// Flags that name an engine, and the engines that they may name.
const BACKENDS: [&str; 2] = ["backend", "runtime"];
const ENGINES: [&str; 2] = ["sglang", "vllm"];

/// Lays what they mean over a configuration. Each that is refused adds to `faults`, and none of their
/// values is told there: it may be a secret.
pub(crate) fn lay_over(flags: &ForeignArgs, config: &mut RouterConfig, faults: &mut Vec<Fault>) {
    for (flag, _) in flags.given().filter(|(flag, _)| flag.fate == FlagFate::Refused) {
        faults.push(Fault::text(format!("--{}", flag.name), None, format!("refused: {}", flag.note)));
    }
    if flags.has("disable-health-check") {
        config.health.interval_secs = 0;
    }
    match flags.value("intra-node-data-parallel-size").map(str::parse::<u32>) {
        None | Some(Ok(1)) => {}
        Some(Ok(size)) if size > 1 => config.upstream.dp_aware = true,
        Some(_) => {
            let found = flags.value("intra-node-data-parallel-size").unwrap_or_default();
            faults.push(Fault::value("--intra-node-data-parallel-size", format!("{found:?}"), "1 and above"));
        }
    }
    if flags.has("vllm-pd-disaggregation") {
        let halves = config.workers.iter_mut().filter(|worker| worker.role != WorkerRole::Regular);
        halves.filter(|half| half.engine.is_auto()).for_each(|half| half.engine = EngineSetting::Vllm);
    }
    if let Some(found) = flags.value("kv-connector").filter(|found| *found != "nixl") {
        let allowed = "nixl: pairs of vLLM hand their KV caches over by its NixlConnector";
        faults.push(Fault::value("--kv-connector", format!("{found:?}"), allowed));
    }
    for name in BACKENDS {
        if let Some(found) = flags.value(name).filter(|found| !ENGINES.contains(found)) {
            let allowed = "sglang, vllm: requests go to engines that one operates";
            faults.push(Fault::value(format!("--{name}"), format!("{found:?}"), allowed));
        }
    }
    if let Some(found) = flags.value("history-backend").filter(|found| *found != "none") {
        let allowed = "none: the router keeps no conversations or responses";
        faults.push(Fault::value("--history-backend", format!("{found:?}"), allowed));
    }
}

/// What sglang-router takes for its prefill half and nowhere else.
const OF_PREFILL_ONLY: &str = "bucket";

/// Finds names in `--prefill-policy` and `--decode-policy` that no policy has, here or in another router. A
/// module in the state directory is only known once that is opened.
pub(crate) fn check_halves(flags: &ForeignArgs, config: &RouterConfig, faults: &mut Vec<Fault>) {
    let in_dir =
        |name: &str| config.plugin_dir.as_ref().is_some_and(|dir| dir.join(format!("{name}.wasm")).is_file());
    let mut known: Vec<&str> = NativePolicy::NAMES.to_vec();
    known.extend(sgl_shipped::names());
    known.extend(other_names::ALL.iter().map(|other| other.name));
    known.extend(config.plugins.iter().map(|plugin| plugin.name.as_str()));
    for flag in ["prefill-policy", "decode-policy"] {
        let Some(found) = flags.value(flag) else { continue };
        let is_theirs = found == OF_PREFILL_ONLY && flag == "prefill-policy";
        if !known.contains(&found) && !is_theirs && !in_dir(found) && config.state_dir.is_none() {
            let allowed = format!("one of {}", known.join(", "));
            faults.push(Fault::value(format!("--{flag}"), format!("{found:?}"), allowed));
        }
    }
}

/// The settings that flags give this policy.
pub(crate) fn policy_settings(
    flags: &ForeignArgs,
    policy: &str,
    faults: &mut Vec<Fault>,
) -> Vec<(&'static str, Value)> {
    let mut settings = Vec::new();
    for PolicyNumber { flag, key, range, default, .. } in
        POLICY_NUMBERS.iter().filter(|number| number.policies.contains(&policy))
    {
        let Some(text) = flags.value(flag) else { continue };
        let is_within = |value: &Value| value.as_f64().is_some_and(|number| range.contains(&number));
        match serde_json::from_str::<Value>(text).ok().filter(is_within) {
            Some(value) => settings.push((*key, value)),
            None => {
                let (least, most) = (range.start(), range.end());
                let allowed = format!("a number from {least} to {most}; leave it out for {default}");
                let shown: String = text.chars().take(MAX_SHOWN).collect();
                faults.push(Fault::value(format!("--{flag}"), format!("{shown:?}"), allowed));
            }
        }
    }
    settings
}

/// What the operator should know of flags that are accepted: the flag, and what there is to say.
pub(crate) fn warnings(flags: &ForeignArgs, policy: &str) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    let mut warn = |flag: &str, text: String| warnings.push((format!("--{flag}"), text));
    for (flag, _) in flags.given().filter(|(flag, _)| flag.fate == FlagFate::Ignored) {
        warn(flag.name, format!("accepted without effect: {}", flag.note));
    }
    for PolicyNumber { flag, policies, .. } in POLICY_NUMBERS {
        if flags.has(flag) && !policies.contains(&policy) {
            let whose = policies.join(" and ");
            warn(flag, format!("accepted without effect: it is a number of {whose}, the policy is {policy}"));
        }
    }
    for flag in ["prefill-policy", "decode-policy"] {
        if let Some(other) = flags.value(flag).filter(|other| here(other) != policy) {
            let what = format!("{policy} chooses both halves of a pair, not {other}");
            warn(flag, format!("accepted without effect: {what}; pd_pair weighs the work of each half"));
        }
    }
    warnings
}

/// The name here of a policy that may be named as in another router.
fn here(policy: &str) -> &str {
    match other_names::find(policy).map(|other| other.kind) {
        Some(OtherKind::BuiltIn(name)) => name,
        _ => policy,
    }
}

/// The policy of a command line that names only those of the halves of a pair: the one that prompts are
/// placed by, since the prefill half is where most of the choice is. `bucket` is for that half only, there.
pub(crate) fn policy_of_halves(flags: &ForeignArgs) -> Option<&str> {
    flags.value("prefill-policy").filter(|policy| *policy != "bucket")
}
