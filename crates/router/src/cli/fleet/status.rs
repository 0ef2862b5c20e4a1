//! `fleet status`: as text for people.

use crate::cli::plugin::table::{count, nanoseconds, short, table};
use sgl_api::{FleetPluginView, FleetRouterPluginView, FleetRouterView, FleetView};
use sglang_router_rs::types::printable;

/// The whole of it.
pub(crate) fn page(view: &FleetView) -> String {
    let epoch = view.epoch.as_deref().unwrap_or("none");
    let (name, routers) = (printable(&view.name), count(view.routers.len(), "router"));
    let mut text = format!("fleet {name}, epoch {}, {routers}\n", printable(epoch));
    if view.plugins.is_empty() {
        text.push_str("nothing is to be served: `sgl-router fleet push MODULE` has it serve something\n");
    } else {
        let rows: Vec<Vec<String>> = view.plugins.iter().map(|plugin| plugin_row(plugin, view)).collect();
        text.push('\n');
        text.push_str(&table(&["PLUGIN", "GENERATION", "STATE", "STEP", "SERVING", "DIGEST", "WHY"], &rows));
    }
    for (name, reason) in &view.malformed {
        text.push_str(&format!("{}: {}\n", printable(name), printable(reason)));
    }
    if !view.routers.is_empty() {
        let rows: Vec<Vec<String>> = view.routers.iter().flat_map(router_rows).collect();
        text.push('\n');
        text.push_str(&table(
            &["ROUTER", "PLUGIN", "SERVES", "WARM", "DECISIONS", "FAILED", "P99", "NOTES"],
            &rows,
        ));
    }
    text
}

/// One line about a rollout.
pub(crate) fn line(plugin: &FleetPluginView) -> String {
    let (name, state, reason) = (printable(&plugin.name), &plugin.state, printable(&plugin.reason));
    format!("{name}: generation {} is {state}, step {} ({reason})\n", plugin.generation, step(plugin))
}

fn step(plugin: &FleetPluginView) -> String {
    match plugin.step {
        0 => format!("0/{} (made ready)", plugin.steps.len()),
        step => format!("{step}/{} ({} %)", plugin.steps.len(), plugin.percent),
    }
}

fn plugin_row(plugin: &FleetPluginView, view: &FleetView) -> Vec<String> {
    vec![
        plugin.name.clone(),
        plugin.generation.to_string(),
        plugin.state.clone(),
        step(plugin),
        format!("{}/{}", plugin.serving, view.routers.len()),
        short(&plugin.digest),
        plugin.waits_for.clone().unwrap_or_else(|| plugin.reason.clone()),
    ]
}

fn router_rows(router: &FleetRouterView) -> Vec<Vec<String>> {
    if router.plugins.is_empty() {
        let mut row = vec![router.name.clone()];
        row.extend(["-", "-", "-", "-", "-", "-"].map(str::to_owned));
        row.push(router.holding.clone().unwrap_or_default());
        return vec![row];
    }
    router.plugins.iter().map(|plugin| plugin_of_router(router, plugin)).collect()
}

fn plugin_of_router(router: &FleetRouterView, plugin: &FleetRouterPluginView) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(router.holding.as_ref().map(|reason| format!("holds: {reason}")));
    notes.extend(plugin.failed.clone());
    notes.extend(plugin.breaker_open.then(|| "breaker open".to_owned()));
    notes.extend(plugin.diverged.then(|| "serves what it was given alone".to_owned()));
    let number = |generation: u64| if generation == 0 { "-".to_owned() } else { generation.to_string() };
    vec![
        router.name.clone(),
        plugin.name.clone(),
        number(plugin.serving),
        number(plugin.prepared.unwrap_or(0)),
        plugin.decisions.to_string(),
        plugin.failures.to_string(),
        nanoseconds(plugin.p99_ns),
        notes.join("; "),
    ]
}
