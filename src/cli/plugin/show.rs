//! How plugins are shown to people.

use crate::admin::plugins::view::PluginSummary;
use crate::admin::plugins::view::PluginView;
use crate::admin::plugins::view::failures;
use crate::cli::plugin::table::nanoseconds;
use crate::cli::plugin::table::short;
use crate::cli::plugin::table::table;
use crate::policies::GenerationDetail;

/// The table of `list`.
pub fn list(plugins: &[PluginSummary]) -> String {
    let head = [
        "NAME",
        "STATE",
        "USED",
        "GENERATION",
        "VERSION",
        "DIGEST",
        "DECISIONS",
        "FAILURES",
        "FALLBACKS",
        "P99",
        "BREAKER",
    ];
    let row = |plugin: &PluginSummary| {
        vec![
            plugin.name.clone(),
            plugin.state.clone(),
            if plugin.in_use { "yes" } else { "no" }.to_owned(),
            plugin.generation.to_string(),
            or_dash(&plugin.version),
            short(&plugin.digest),
            plugin.decisions.to_string(),
            plugin.failures.to_string(),
            plugin.fallbacks.to_string(),
            nanoseconds(plugin.p99_ns),
            plugin.breaker.clone(),
        ]
    };
    table(&head, &plugins.iter().map(row).collect::<Vec<_>>())
}

/// The page of `show`.
pub fn detail(view: &PluginView) -> String {
    let plugin = &view.detail;
    let mut lines = vec![
        ("name", plugin.name.clone()),
        ("state", plugin.state.clone()),
        ("in use", if view.in_use { "yes" } else { "no" }.to_owned()),
        ("breaker", plugin.breaker.clone()),
        ("decisions", plugin.decisions.to_string()),
        ("fallbacks", plugin.fallbacks.to_string()),
        ("swaps", format!("{}, {} of them back", plugin.swaps, plugin.rollbacks)),
        ("module", plugin.config.module_path.clone()),
        ("budget", format!("{} ms", plugin.config.max_execution_time_ms)),
        ("memory", format!("{} bytes", plugin.config.max_memory_bytes)),
        ("syscalls", or_dash(&plugin.syscalls.join(", "))),
    ];
    let seldom = [("not told", plugin.completion_failures), ("/tmp full", plugin.tmp_refusals)];
    lines.extend(seldom.into_iter().filter(|(_, n)| *n > 0).map(|(key, n)| (key, format!("{n} times"))));
    lines.extend(plugin.last_event.clone().map(|event| ("last event", event)));
    lines.extend(view.canary_percent.map(|percent| ("canary", format!("{percent} % of decisions"))));
    if let Some(shadow) = &plugin.shadow {
        let rate = shadow.agreement_rate.map_or("-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
        let text = format!(
            "agrees on {} of {} ({rate}), {} skipped",
            shadow.agreed, shadow.compared, shadow.skipped
        );
        lines.push(("shadow", text));
    }
    let mut text: String = lines.into_iter().map(|(key, value)| format!("{key:<11}{value}\n")).collect();
    text.push('\n');
    text.push_str(&generations(&plugin.generations));
    text
}

fn generations(all: &[GenerationDetail]) -> String {
    let head = [
        "GENERATION",
        "ROLE",
        "VERSION",
        "DIGEST",
        "DECISIONS",
        "FAILURES",
        "P50",
        "P99",
        "P99.9",
        "INSTANCES",
        "IN CALL",
    ];
    let row = |one: &GenerationDetail| {
        let time = |name: &str| nanoseconds(one.latency_ns.get(name).copied());
        vec![
            one.generation.to_string(),
            format!("{:?}", one.role).to_lowercase(),
            or_dash(&one.version),
            or_dash(&short(&one.digest)),
            one.decisions.to_string(),
            causes(one),
            time("p50"),
            time("p99"),
            time("p999"),
            one.instances.to_string(),
            one.in_call.to_string(),
        ]
    };
    table(&head, &all.iter().map(row).collect::<Vec<_>>())
}

/// The number of failures and their causes.
fn causes(one: &GenerationDetail) -> String {
    let causes: Vec<String> = one.failures.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    if causes.is_empty() { "0".to_owned() } else { format!("{} ({})", failures(one), causes.join(", ")) }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
