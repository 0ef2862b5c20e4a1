//! The metrics of the fleet that the router is one of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fleet::fleet_board::FleetBoard;
use crate::metrics::{Families, Metric, Metrics, catalogue};
use crate::proxy::sent_prefixes::SentPrefixes;
use sgl_api::{FleetPluginView, FleetRouterPluginView, FleetView};
use sgl_fleet::desired_plugin::RolloutState;
use sgl_fleet::exchange_counts::{ExchangeCounts, MessageOutcome};
use sgl_fleet::prefix_exchange::PrefixCounts;

/// What became of what routers tell each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCounts {
    /// Of messages about loads.
    pub(crate) loads: Arc<ExchangeCounts>,
    /// Of messages about prompts.
    pub(crate) prefix_messages: Arc<ExchangeCounts>,
    /// Of prompts.
    pub(crate) prefixes: Arc<PrefixCounts>,
}

/// Registers what the board shows, and what became of what routers tell each other; `sent` if they tell each other
/// of prompts.
pub(crate) fn register(
    board: &FleetBoard,
    counts: SharedCounts,
    sent: Option<Arc<SentPrefixes>>,
    metrics: &Metrics,
) {
    let board = board.clone();
    metrics.register(move |families| {
        let Some(view) = board.view() else { return };
        tell_fleet(&view, families);
        tell_rollouts(&view, families);
        tell_own(&view, families);
        tell_routers(&view, families);
        let rollbacks = families.family(&catalogue::FLEET_ROLLBACKS);
        for (plugin, count) in board.rollbacks() {
            rollbacks.count(&[&view.name, &plugin], count);
        }
        tell_messages(&view.name, "loads", &counts.loads, families);
        if let Some(sent) = &sent {
            tell_messages(&view.name, "prefixes", &counts.prefix_messages, families);
            tell_prefixes(&view.name, &counts.prefixes, sent, families);
        }
    });
}

fn tell_fleet(view: &FleetView, families: &mut Families) {
    let mut tell = |metric: &'static Metric, value: f64| {
        families.family(metric).gauge(&[&view.name], value);
    };
    tell(&catalogue::FLEET_CONNECTED, flag(view.connected));
    let age = view.heard_ms.map_or(f64::INFINITY, |ms| number(ms) / 1e3);
    tell(&catalogue::FLEET_AGE, age);
    tell(&catalogue::FLEET_HOLDING, flag(view.holding.is_some()));
    tell(&catalogue::FLEET_ROUTERS, number(view.routers.len() as u64));
}

fn tell_rollouts(view: &FleetView, families: &mut Families) {
    let mut tell = |metric: &'static Metric, value: fn(&FleetPluginView) -> f64| {
        let family = families.family(metric);
        view.plugins.iter().for_each(|plugin| {
            family.gauge(&[&view.name, &plugin.name], value(plugin));
        });
    };
    tell(&catalogue::FLEET_NEWEST_GENERATION, |plugin| number(plugin.generation));
    tell(&catalogue::FLEET_WANTED_GENERATION, |plugin| number(plugin.wanted.unwrap_or(0)));
    tell(&catalogue::FLEET_ROLLOUT_PERCENT, |plugin| f64::from(plugin.percent));
    let states = families.family(&catalogue::FLEET_ROLLOUT_STATE);
    for plugin in &view.plugins {
        for state in RolloutState::ALL.map(RolloutState::as_str) {
            states.gauge(&[&view.name, &plugin.name, state], flag(plugin.state == state));
        }
    }
}

/// What this router serves.
fn tell_own(view: &FleetView, families: &mut Families) {
    let own = view.routers.iter().find(|router| view.router.as_ref() == Some(&router.name));
    let mut tell = |metric: &'static Metric, value: fn(&FleetRouterPluginView) -> f64| {
        let family = families.family(metric);
        own.iter().flat_map(|own| &own.plugins).for_each(|plugin| {
            family.gauge(&[&view.name, &plugin.name], value(plugin));
        });
    };
    tell(&catalogue::FLEET_SERVING_GENERATION, |plugin| number(plugin.serving));
    tell(&catalogue::FLEET_DIVERGED, |plugin| flag(plugin.diverged));
}

/// What all that are heard of say.
fn tell_routers(view: &FleetView, families: &mut Families) {
    let mut tell = |metric: &'static Metric, is_so: fn(&FleetRouterPluginView) -> bool| {
        let family = families.family(metric);
        for plugin in &view.plugins {
            let at_routers = view.routers.iter().flat_map(|router| &router.plugins);
            let count = at_routers.filter(|one| one.name == plugin.name && is_so(one)).count();
            family.gauge(&[&view.name, &plugin.name], number(count as u64));
        }
    };
    tell(&catalogue::FLEET_OPEN_BREAKERS, |plugin| plugin.breaker_open);
    tell(&catalogue::FLEET_FAILED_ROUTERS, |plugin| plugin.failed.is_some());
}

fn tell_messages(fleet: &str, kind: &str, counts: &ExchangeCounts, families: &mut Families) {
    let messages = families.family(&catalogue::FLEET_MESSAGES);
    for outcome in MessageOutcome::ALL {
        messages.count(&[fleet, kind, outcome.as_str()], counts.total(outcome));
    }
}

fn tell_prefixes(fleet: &str, counts: &PrefixCounts, sent: &SentPrefixes, families: &mut Families) {
    let PrefixCounts { told, dropped, noted, ignored } = counts;
    // Relaxed: sums.
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let prefixes = families.family(&catalogue::FLEET_PREFIXES);
    prefixes.count(&[fleet, "told"], of(told));
    prefixes.count(&[fleet, "dropped"], of(dropped) + sent.dropped());
    prefixes.count(&[fleet, "noted"], of(noted));
    prefixes.count(&[fleet, "ignored"], of(ignored));
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and there are not that many of anything")]
fn number(count: u64) -> f64 {
    count as f64
}
