//! What the flags of other routers do here.

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

/// A number of a policy: the flag, the key of the policy's settings, and the policies that have it.
type PolicyNumber = (&'static str, &'static str, &'static [&'static str]);

const POLICY_NUMBERS: [PolicyNumber; 4] = [
    ("cache-threshold", "cache_threshold", &["cache_aware"]),
    ("balance-abs-threshold", "balance_abs_threshold", &["cache_aware"]),
    ("balance-rel-threshold", "balance_rel_threshold", &["cache_aware"]),
    ("max-idle-secs", "idle_secs", &["manual", "sticky_least_loaded"]),
];

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
    for (flag, key, _) in POLICY_NUMBERS.iter().filter(|(_, _, policies)| policies.contains(&policy)) {
        let Some(text) = flags.value(flag) else { continue };
        match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_number() => settings.push((*key, value)),
            _ => faults.push(Fault::value(format!("--{flag}"), format!("{text:?}"), "a number")),
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
    for (flag, _, policies) in POLICY_NUMBERS {
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
