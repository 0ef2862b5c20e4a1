//! `fleet status`: as text for people.

use crate::cli::plugin::table::{count, nanoseconds, short, table};
use sgl_api::{FleetPluginView, FleetRouterPluginView, FleetRouterView, FleetView};
use sgl_fleet::desired_plugin::RolloutState;
use sglang_router_rs::types::printable;

/// The whole of it.
pub(crate) fn page(view: &FleetView) -> String {
    let epoch = match (&view.epoch, &view.epoch_fault) {
        (Some(epoch), _) => epoch.as_str(),
        (None, Some(_)) => "not understood",
        (None, None) => "none",
    };
    let (name, routers) = (printable(&view.name), count(view.routers.len(), "router"));
    let mut text = format!("fleet {name}, epoch {}, {routers}\n", printable(epoch));
    text.extend(view.epoch_fault.iter().map(|fault| format!("{}\n", printable(fault))));
    let plugins: Vec<&FleetPluginView> =
        view.plugins.iter().filter(|plugin| is_shown(plugin, view)).collect();
    if plugins.is_empty() {
        let is_known = view.malformed.is_empty() && view.epoch_fault.is_none();
        text.push_str(if is_known { nothing(view) } else { "" });
    } else {
        let rows: Vec<Vec<String>> = plugins.iter().map(|plugin| plugin_row(plugin, view)).collect();
        text.push('\n');
        text.push_str(&table(&HEAD, &rows));
        text.extend(plugins.iter().map(|plugin| warnings(plugin, view.routers.len())));
    }
    for (name, reason) in &view.malformed {
        text.push_str(&format!("{}: {}\n", printable(name), printable(reason)));
    }
    if !view.routers.is_empty() {
        let rows: Vec<Vec<String>> =
            view.routers.iter().flat_map(|router| router_rows(router, &view.plugins)).collect();
        text.push('\n');
        text.push_str(&table(
            &["ROUTER", "PLUGIN", "SERVES", "WARM", "DECISIONS", "FAILED", "P99", "NOTES"],
            &rows,
        ));
    }
    text
}

const HEAD: [&str; 8] = ["PLUGIN", "GENERATION", "STATE", "STEP", "SERVING", "PLACES", "DIGEST", "WHY"];

/// What was removed is of interest for as long as somebody serves it.
fn is_shown(plugin: &FleetPluginView, view: &FleetView) -> bool {
    let mut at_routers = view.routers.iter().flat_map(|router| &router.plugins);
    plugin.state != RolloutState::Removed.as_str()
        || at_routers.any(|one| one.name == plugin.name && one.serving > 0)
}

/// Why the table is empty.
fn nothing(view: &FleetView) -> &'static str {
    let holds = |router: &FleetRouterView| {
        router.holding.is_some() && router.plugins.iter().any(|plugin| plugin.serving > 0)
    };
    if view.routers.iter().any(holds) {
        "nothing is to be served by what NATS has now; the routers go on with what they followed last, see below: \
         `sgl-router fleet adopt --from ROUTER` writes down what one of them serves\n"
    } else {
        "nothing is to be served: `sgl-router fleet push MODULE` has it serve something\n"
    }
}

/// What an operator may not have meant; empty if there is nothing.
pub(crate) fn warnings(plugin: &FleetPluginView, routers: usize) -> String {
    let name = printable(&plugin.name);
    if routers == 0 {
        return format!("{name}: no router of the fleet is heard of\n");
    }
    let is_over = [RolloutState::RolledBack, RolloutState::Removed].map(RolloutState::as_str);
    if plugin.place || plugin.placing > 0 || is_over.contains(&plugin.state.as_str()) {
        return String::new();
    }
    format!(
        "{name}: no router places requests with it: push it with --place, or `sgl-router policy use {name}` at each\n"
    )
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
        format!("{}/{}", plugin.placing, view.routers.len()),
        short(&plugin.digest),
        plugin.waits_for.clone().unwrap_or_else(|| plugin.reason.clone()),
    ]
}

fn router_rows(router: &FleetRouterView, desired: &[FleetPluginView]) -> Vec<Vec<String>> {
    if router.plugins.is_empty() {
        let mut row = vec![router.name.clone()];
        row.extend(["-", "-", "-", "-", "-", "-"].map(str::to_owned));
        row.push(router.holding.as_ref().map(|reason| format!("holds: {reason}")).unwrap_or_default());
        return vec![row];
    }
    let row = |plugin: &FleetRouterPluginView| {
        let desired = desired.iter().find(|desired| desired.name == plugin.name);
        plugin_of_router(router, plugin, desired)
    };
    router.plugins.iter().map(row).collect()
}

/// The policy that places at a router which is to place with this plugin, if it is another one.
fn other_policy<'a>(
    router: &'a FleetRouterView,
    plugin: &FleetRouterPluginView,
    desired: Option<&FleetPluginView>,
) -> Option<&'a str> {
    let places = desired.is_some_and(|desired| desired.place && desired.generation == plugin.serving);
    let policy = router.policy.as_str();
    (places && !policy.is_empty() && policy != plugin.name).then_some(policy)
}

fn plugin_of_router(
    router: &FleetRouterView,
    plugin: &FleetRouterPluginView,
    desired: Option<&FleetPluginView>,
) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(router.holding.as_ref().map(|reason| format!("holds: {reason}")));
    notes.extend(plugin.failed.clone());
    notes.extend(plugin.breaker_open.then(|| "breaker open".to_owned()));
    notes.extend(other_policy(router, plugin, desired).map(|policy| format!("places with {policy}")));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(place: bool, policies: &[&str]) -> FleetView {
        let serves =
            FleetRouterPluginView { name: "p".to_owned(), serving: 3, ..FleetRouterPluginView::default() };
        let router = |policy: &&str| FleetRouterView {
            name: "r".to_owned(),
            policy: (*policy).to_owned(),
            plugins: vec![serves.clone()],
            ..FleetRouterView::default()
        };
        let placing = policies.iter().filter(|policy| **policy == "p").count();
        let plugin = FleetPluginView {
            name: "p".to_owned(),
            generation: 3,
            state: "done".to_owned(),
            digest: "abc".to_owned(),
            place,
            placing,
            ..FleetPluginView::default()
        };
        let routers = policies.iter().map(router).collect();
        FleetView { name: "f".to_owned(), plugins: vec![plugin], routers, ..FleetView::default() }
    }

    #[test]
    fn nobody_placing_is_a_warning_and_another_policy_a_note() {
        let unplaced = page(&fleet(false, &["least_load", "least_load"]));
        assert!(unplaced.contains("PLACES") && unplaced.contains(" 0/2 "), "{unplaced}");
        assert!(unplaced.contains("p: no router places requests with it"), "{unplaced}");
        assert!(!unplaced.contains("places with"), "{unplaced}");
        let chosen = page(&fleet(false, &["p", "p"]));
        assert!(chosen.contains(" 2/2 ") && !chosen.contains("no router places"), "{chosen}");
        let placed = page(&fleet(true, &["p", "least_load"]));
        assert!(placed.contains(" 1/2 ") && placed.contains("places with least_load"), "{placed}");
        assert!(!placed.contains("no router places"), "{placed}");
    }

    #[test]
    fn what_routers_serve_is_shown_where_nats_has_nothing_and_what_is_removed_is_not() {
        let mut lost = fleet(true, &["p"]);
        lost.plugins.clear();
        assert!(page(&lost).contains("`sgl-router fleet push MODULE`"));
        lost.routers[0].holding = Some("the server lost its data".to_owned());
        let shown = page(&lost);
        assert!(shown.contains("fleet adopt --from ROUTER") && !shown.contains("fleet push"), "{shown}");
        assert!(shown.contains("holds: the server lost its data"), "{shown}");
        let mut removed = fleet(true, &["p"]);
        removed.plugins[0].state = "removed".to_owned();
        assert!(page(&removed).contains("removed"), "somebody serves it yet");
        removed.routers[0].plugins.clear();
        assert!(!page(&removed).contains("removed"));
        let faulty = FleetView { epoch_fault: Some("nonsense".to_owned()), ..FleetView::default() };
        let shown = page(&faulty);
        assert!(shown.contains("epoch not understood") && shown.contains("nonsense"), "{shown}");
        assert!(!shown.contains("is to be served"), "{shown}");
    }
}
