//! The metrics of plugins: decisions, their times, failures, instances, generations.

use std::time::Duration;

use crate::manage::manager::canary_percent;
use crate::metrics::Families;
use crate::metrics::FamilyKind;
use crate::metrics::HistogramSnapshot;
use crate::metrics::Metrics;
use crate::policies::PluginDetail;
use crate::policies::PolicyFactory;
use crate::policies::wasm::PluginStats;
use crate::policies::wasm::latency::LatencyCounts;
use crate::policies::wasm::shadow::ShadowReport;

/// Bounds of the decision-time histogram as powers of two of a nanosecond: 128 ns to 34 s. The
/// first three hold what an undisturbed decision takes.
const BOUNDS: std::ops::RangeInclusive<u32> = 7..=35;

/// Has the metrics of the factory's plugins shown.
pub fn register(factory: &PolicyFactory, metrics: &Metrics) {
    let factory = factory.clone();
    metrics.register(move |families| {
        let plugins = factory.plugin_stats();
        tell(&plugins, families);
        tell_generations(&plugins, families);
        tell_rollouts(&factory, families);
    });
}

fn tell(plugins: &[PluginStats], families: &mut Families) {
    let mut counters = |name, help, value: fn(&PluginStats) -> u64| {
        let family = families.family(name, help, FamilyKind::Counter);
        plugins.iter().for_each(|plugin| {
            family.count(&[("plugin", &plugin.name)], value(plugin));
        });
    };
    counters("plugin_decisions", "Decisions that were asked of a plugin", |plugin| plugin.decisions);
    counters("plugin_fallbacks", "Decisions of the fallback policy instead", |plugin| plugin.fallbacks);
    counters("plugin_instances_created", "Instances made", |plugin| plugin.pool.created);
    counters("plugin_instances_recycled", "Instances replaced for age, use or growth", |p| p.pool.recycled);
    counters("plugin_instances_discarded", "Instances dropped after a failure", |p| p.pool.discarded);
    counters("plugin_log_suppressed", "Log lines that were not passed on", |plugin| plugin.log_suppressed);
    counters("plugin_tmp_refusals", "Calls refused since the private directory is full", |p| p.tmp_refusals);
    counters("plugin_completion_failures", "Batches of finished requests that it was not told of", |p| {
        p.completion_failures
    });
    counters("plugin_swaps", "Changes of the generation that decides", |plugin| plugin.swaps);
    counters("plugin_rollbacks", "Rollbacks, canaries and shadows that were dropped included", |p| {
        p.rollbacks
    });
    counters("plugin_drains", "Generations that are gone", |plugin| plugin.drains.drained);
    counters("plugin_drains_overdue", "Generations that took longer than they should", |p| p.drains.overdue);
    counters("plugin_drain_milliseconds", "Time from a swap to the last instance, together", |plugin| {
        u64::try_from(plugin.drains.total.as_millis()).unwrap_or(u64::MAX)
    });
    let failures = families.family("plugin_failures", "Failures by cause", FamilyKind::Counter);
    for plugin in plugins {
        for (cause, count) in &plugin.failures {
            failures.count(&[("plugin", &plugin.name), ("cause", cause.as_str())], *count);
        }
    }
    tell_gauges(plugins, families);
    let help = "Times of one decision in sixteen, from the call to the checked choice";
    let times = families.family("plugin_decision_seconds", help, FamilyKind::Histogram);
    for plugin in plugins {
        times.histogram(&[("plugin", &plugin.name)], snapshot(&plugin.latency));
    }
}

fn tell_gauges(plugins: &[PluginStats], families: &mut Families) {
    let mut gauges = |name, help, value: fn(&PluginStats) -> usize| {
        let family = families.family(name, help, FamilyKind::Gauge);
        plugins.iter().for_each(|plugin| {
            let value = u32::try_from(value(plugin)).unwrap_or(u32::MAX);
            family.gauge(&[("plugin", &plugin.name)], f64::from(value));
        });
    };
    gauges("plugin_instances_idle", "Instances that wait for a call", |plugin| plugin.pool.idle);
    gauges("plugin_instances_busy", "Instances in a call or being made", |plugin| {
        plugin.pool.live.saturating_sub(plugin.pool.idle)
    });
    gauges("plugin_callers_waiting", "Callers that wait for an instance", |plugin| plugin.pool.waiting);
    gauges("plugin_live_generations", "Generations that live", |plugin| plugin.live_generations);
    gauges("plugin_breaker_open", "Whether the breaker keeps it out of the path: 0 or 1", |plugin| {
        usize::from(plugin.breaker_open)
    });
    let help = "Seconds that the last generation took to be gone";
    let last = families.family("plugin_drain_last_seconds", help, FamilyKind::Gauge);
    for plugin in plugins {
        last.gauge(&[("plugin", &plugin.name)], plugin.drains.last.as_secs_f64());
    }
    let generation = families.family("plugin_generation", "The generation that serves", FamilyKind::Gauge);
    for plugin in plugins {
        let number = u32::try_from(plugin.generation).unwrap_or(u32::MAX);
        generation.gauge(&[("plugin", &plugin.name)], f64::from(number));
    }
}

/// By generation: those that live. Their counts end with them; those of the plugin go on.
fn tell_generations(plugins: &[PluginStats], families: &mut Families) {
    let each = || plugins.iter().flat_map(|plugin| plugin.generations.iter().map(move |one| (plugin, one)));
    let help = "Decisions that were asked of a generation that lives";
    let decisions = families.family("plugin_generation_decisions", help, FamilyKind::Counter);
    for (plugin, one) in each() {
        let labels = [("plugin", plugin.name.as_str()), ("generation", &one.generation.to_string())];
        decisions.count(&labels, one.decisions);
    }
    let help = "Failures of a generation that lives, by cause";
    let failures = families.family("plugin_generation_failures", help, FamilyKind::Counter);
    for (plugin, one) in each() {
        for (cause, count) in &one.failures {
            let generation = one.generation.to_string();
            let labels =
                [("plugin", plugin.name.as_str()), ("generation", &generation), ("cause", cause.as_str())];
            failures.count(&labels, *count);
        }
    }
    let help = "Times of one decision in sixteen of a generation that lives";
    let times = families.family("plugin_generation_decision_seconds", help, FamilyKind::Histogram);
    for (plugin, one) in each() {
        let labels = [("plugin", plugin.name.as_str()), ("generation", &one.generation.to_string())];
        times.histogram(&labels, snapshot(&one.latency));
    }
}

/// What only some plugins have: a canary, a shadow, a pause.
fn tell_rollouts(factory: &PolicyFactory, families: &mut Families) {
    let names = factory.list_wasm_plugins();
    let plugins: Vec<PluginDetail> = names.iter().filter_map(|name| factory.plugin_detail(name)).collect();
    let paused = families.family("plugin_paused", "Whether an operator paused it: 0 or 1", FamilyKind::Gauge);
    for plugin in &plugins {
        paused.gauge(&[("plugin", &plugin.name)], f64::from(u8::from(plugin.state == "paused")));
    }
    let help = "Share of the decisions that go to the canary, 0 to 1";
    let share = families.family("plugin_canary_share", help, FamilyKind::Gauge);
    for plugin in &plugins {
        let percent = canary_percent(factory, &plugin.name).unwrap_or(0.0);
        share.gauge(&[("plugin", &plugin.name)], percent / 100.0);
    }
    let help = "Share of the compared decisions on which the shadow agrees, 0 to 1";
    let agreement = families.family("plugin_shadow_agreement", help, FamilyKind::Gauge);
    for (plugin, rate) in plugins.iter().filter_map(|one| Some((one, one.shadow?.agreement_rate?))) {
        agreement.gauge(&[("plugin", &plugin.name)], rate);
    }
    let mut counts = |name, help, value: fn(&ShadowReport) -> u64| {
        let family = families.family(name, help, FamilyKind::Counter);
        for (plugin, report) in plugins.iter().filter_map(|one| Some((one, one.shadow?))) {
            family.count(&[("plugin", &plugin.name)], value(&report));
        }
    };
    counts("plugin_shadow_compared", "Decisions that the shadow made too", |report| report.compared);
    counts("plugin_shadow_agreed", "Those on which it agrees", |report| report.agreed);
    counts("plugin_shadow_skipped", "Copies that it was too slow for", |report| report.skipped);
}

fn snapshot(latency: &LatencyCounts) -> HistogramSnapshot {
    let mut before = 0;
    let mut buckets: Vec<(f64, u64)> = BOUNDS
        .map(|exponent| {
            let up_to = latency.at_most_pow2(exponent);
            let within = up_to - before;
            before = up_to;
            (Duration::from_nanos(1 << exponent).as_secs_f64(), within)
        })
        .collect();
    let count = latency.count();
    buckets.push((f64::INFINITY, count - before));
    HistogramSnapshot { buckets, sum: latency.sum().as_secs_f64(), count }
}
