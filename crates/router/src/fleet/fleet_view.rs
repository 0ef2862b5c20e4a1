//! A fleet as operators see it, whoever looks: a router, or a command that asks NATS.

use sgl_api::{FleetPluginView, FleetRouterPluginView, FleetRouterView, FleetView};
use sgl_fleet::desired_plugin::{DesiredPlugin, ModulePlace};
use sgl_fleet::desired_set::{DesiredSet, RevisedPlugin};
use sgl_fleet::presence::{PluginHealth, RouterPresence};

/// What is shown of a fleet, without what only a member knows.
pub(crate) fn view(fleet: &str, desired: &DesiredSet, live: &[RouterPresence]) -> FleetView {
    FleetView {
        name: fleet.to_owned(),
        router: None,
        connected: true,
        link_ms: None,
        heard_ms: None,
        epoch: desired.epoch.as_ref().map(|epoch| epoch.id.clone()),
        epoch_fault: desired.epoch_fault.clone(),
        holding: None,
        fault: None,
        plugins: desired.plugins.iter().map(|(name, plugin)| plugin_view(name, plugin, live)).collect(),
        malformed: desired.malformed.clone(),
        routers: live.iter().map(router_view).collect(),
    }
}

fn plugin_view(
    name: &str,
    RevisedPlugin { revision, plugin }: &RevisedPlugin,
    live: &[RouterPresence],
) -> FleetPluginView {
    let DesiredPlugin { target, stable, plan, step, state, reason, .. } = plugin;
    let serves = plugin.settled().filter(|_| state.is_over()).unwrap_or(target).generation;
    // Whoever holds says numbers of what it followed before.
    let following = || live.iter().filter(|router| router.holding.is_none());
    let health = following().filter_map(|router| router.plugins.get(name));
    FleetPluginView {
        name: name.to_owned(),
        generation: target.generation,
        state: state.as_str().to_owned(),
        step: *step,
        steps: plan.steps.clone(),
        percent: plugin.percent(),
        digest: target.digest.clone(),
        module: match &target.module {
            ModulePlace::Oci(reference) => reference.clone(),
            ModulePlace::Store => "the fleet's store".to_owned(),
        },
        place: target.place,
        by: target.by.clone(),
        reason: reason.clone(),
        before: stable.as_ref().map(|stable| stable.generation),
        revision: *revision,
        serving: health.filter(|health| health.serving == serves).count(),
        placing: live.iter().filter(|router| router.policy == name).count(),
        wanted: None,
        waits_for: None,
    }
}

fn router_view(router: &RouterPresence) -> FleetRouterView {
    FleetRouterView {
        name: router.router.clone(),
        version: router.version.clone(),
        admin: router.admin.clone(),
        policy: router.policy.clone(),
        epoch: router.epoch.clone(),
        holding: router.holding.clone(),
        plugins: router.plugins.iter().map(|(name, health)| health_view(name, health)).collect(),
    }
}

fn health_view(name: &str, health: &PluginHealth) -> FleetRouterPluginView {
    FleetRouterPluginView {
        name: name.to_owned(),
        serving: health.serving,
        prepared: (health.prepared > 0).then_some(health.prepared),
        failed: health
            .failed
            .as_ref()
            .map(|failed| format!("generation {}: {}", failed.generation, failed.reason)),
        breaker_open: health.breaker_open,
        diverged: health.diverged,
        decisions: health.decisions,
        failures: health.failures,
        p99_ns: health.p99_ns,
    }
}
