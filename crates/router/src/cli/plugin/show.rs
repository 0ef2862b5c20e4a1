//! How plugins are shown to people.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use crate::cli::plugin::table::{nanoseconds, short, table};
use sgl_api::{PluginSummary, PluginView, UnreportedInput, failures};
use sglang_router_rs::policies::{
    GenerationDetail, GenerationRole, Origin, PluginDetail, Provenance, SignatureState, SignedBy,
};
use sglang_router_rs::types::printable;

/// The table of `list`.
pub(crate) fn list(plugins: &[PluginSummary]) -> String {
    let head = [
        "NAME",
        "STATE",
        "USED",
        "GENERATION",
        "VERSION",
        "DIGEST",
        "ORIGIN",
        "DECISIONS",
        "FAILURES",
        "NO CHOICE",
        "FALLBACKS",
        "P99",
        "BREAKER",
        "BLIND TO",
    ];
    let row = |plugin: &PluginSummary| {
        vec![
            plugin.name.clone(),
            plugin.state.to_string(),
            if plugin.in_use { "yes" } else { "no" }.to_owned(),
            plugin.generation.to_string(),
            or_dash(&plugin.version),
            short(&plugin.digest),
            or_dash(plugin.origin.as_ref().map_or("", kind)),
            plugin.decisions.to_string(),
            plugin.failures.to_string(),
            plugin.no_choice.to_string(),
            plugin.fallbacks.to_string(),
            nanoseconds(plugin.p99_ns),
            plugin.breaker.to_string(),
            or_dash(&plugin.unreported.join(",")),
        ]
    };
    table(&head, &plugins.iter().map(row).collect::<Vec<_>>())
}

/// Where a module comes from, in a word.
fn kind(origin: &Origin) -> &'static str {
    match origin {
        Origin::Push => "pushed",
        Origin::File { .. } => "file",
        Origin::Registry { .. } => "registry",
        Origin::Embedded => "embedded",
    }
}

/// The page of `show`.
pub(crate) fn detail(view: &PluginView) -> String {
    let plugin = &view.detail;
    let mut lines = vec![
        ("name", plugin.name.clone()),
        ("state", plugin.state.to_string()),
        ("in use", if view.in_use { "yes" } else { "no" }.to_owned()),
        ("breaker", plugin.breaker.to_string()),
        ("decisions", plugin.decisions.to_string()),
        ("fallbacks", plugin.fallbacks.to_string()),
        ("swaps", format!("{}, {} of them back", plugin.swaps, plugin.rollbacks)),
        ("module", plugin.config.module_path.clone()),
        ("budget", format!("{} ms", plugin.config.max_execution_time_ms)),
        ("memory", format!("{} bytes", plugin.config.max_memory_bytes)),
        ("syscalls", or_dash(&plugin.syscalls.join(", "))),
    ];
    lines.extend(settings_lines(plugin));
    let seldom = [
        ("not told", plugin.completion_failures),
        ("events lost", plugin.events_dropped),
        ("/tmp full", plugin.tmp_refusals),
        ("sheds", plugin.sheds),
        ("waits", plugin.waits),
    ];
    lines.extend(seldom.into_iter().filter(|(_, n)| *n > 0).map(|(key, n)| (key, format!("{n} times"))));
    let stable = plugin.generations.iter().find(|one| one.role == GenerationRole::Stable);
    if let Some((stable, provenance)) = stable.and_then(|one| Some((one, one.provenance.as_ref()?))) {
        lines.extend(provenance_lines(stable, provenance));
    }
    lines.extend(plugin.last_failure.clone().map(|failure| ("failed", failure)));
    lines.extend(plugin.last_event.as_ref().map(|event| ("last event", event.to_string())));
    lines.extend(view.unreported.iter().flatten().map(|input| ("blind", blindness(input))));
    lines.extend(view.canary_percent.map(|percent| ("canary", format!("{percent} % of decisions"))));
    if let Some(shadow) = &plugin.shadow {
        let rate = shadow.agreement_rate.map_or("-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
        let text = format!(
            "agrees on {} of {} ({rate}), {} skipped",
            shadow.agreed, shadow.compared, shadow.skipped
        );
        lines.push(("shadow", text));
    }
    let mut text: String =
        lines.into_iter().map(|(key, value)| format!("{key:<11}{}\n", printable(&value))).collect();
    text.push('\n');
    text.push_str(&generations(&plugin.generations));
    text
}

/// What the policy does not see though it wants to.
fn blindness(UnreportedInput { input, workers, never, not_now }: &UnreportedInput) -> String {
    let never = (*never > 0).then(|| format!("{never} of {workers} workers never report it"));
    let not_now = (*not_now > 0).then(|| format!("{not_now} of {workers} workers do not report it now"));
    let who: Vec<String> = [never, not_now].into_iter().flatten().collect();
    format!("declares `{input}`; {}", who.join(", "))
}

/// What the operator has set, as the configuration would say it.
fn settings_lines(plugin: &PluginDetail) -> Vec<(&'static str, String)> {
    let options = &plugin.options;
    // Sorted; plain data with text keys, so that nothing in it can fail.
    let config: BTreeMap<_, _> = plugin.config.config.iter().collect();
    let config = serde_json::to_string(&config).unwrap_or_default();
    let on_failure = match serde_json::to_value(options.on_failure) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    };
    vec![
        ("config", config),
        ("on_failure", on_failure),
        ("fallback", options.fallback.clone()),
        ("may_refuse", if options.may_refuse { "yes" } else { "no" }.to_owned()),
    ]
}

/// Where the generation that decides comes from, and who vouches for it.
fn provenance_lines(stable: &GenerationDetail, provenance: &Provenance) -> Vec<(&'static str, String)> {
    let signature = match provenance.signature {
        SignatureState::Absent => "none".to_owned(),
        SignatureState::Unverified => "not by a trusted key".to_owned(),
        SignatureState::Verified => format!("by {}", signers(provenance)),
    };
    let producers: Vec<String> =
        provenance.producers.iter().map(|(field, names)| format!("{field}: {}", names.join(", "))).collect();
    let loaded = UNIX_EPOCH + Duration::from_secs(stable.loaded_at_secs);
    vec![
        ("digest", format!("sha256:{}, {} bytes", stable.digest, provenance.size_bytes)),
        ("signature", signature),
        ("origin", format!("{}, {}", provenance.origin, httpdate::fmt_http_date(loaded))),
        ("made with", or_dash(&producers.join("; "))),
        ("imports", or_dash(&provenance.imports.join(", "))),
        ("form", form(&provenance.form, provenance.abi, provenance.serial)),
        ("inputs", or_dash(&provenance.inputs.join(", "))),
        ("hooks", or_dash(&provenance.hooks.join(", "))),
    ]
}

/// The form of a module's messages, with what it declares of its instances.
pub(crate) fn form(form: &str, abi: u32, serial: bool) -> String {
    format!("{form}, ABI {abi}, {}", if serial { "serial" } else { "parallel" })
}

fn signers(provenance: &Provenance) -> String {
    let name = |signer: &SignedBy| match signer.comment.as_str() {
        "" => signer.key.clone(),
        comment => format!("{} ({comment})", signer.key),
    };
    provenance.signed_by.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn generations(all: &[GenerationDetail]) -> String {
    let head = [
        "GENERATION",
        "ROLE",
        "VERSION",
        "DIGEST",
        "SIGNED BY",
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
            or_dash(&one.provenance.as_ref().map(signers).unwrap_or_default()),
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
