//! The metrics of plugins: decisions, their times, failures, instances, generations.

use std::time::Duration;

use crate::manage::manager::canary_percent;
use crate::metrics::{Families, HistogramSnapshot, Metric, Metrics, catalogue};
use sglang_router_rs::policies::{
    LatencyCounts, PluginDetail, PluginStats, PluginStatus, PolicyFactory, ShadowReport,
};

/// Bounds of the decision-time histogram, as powers of two of a nanosecond: 128 ns to 34 s. Undisturbed
/// decisions fall into the first three.
const BOUNDS: std::ops::RangeInclusive<u32> = 7..=35;

/// Registers the metrics of the factory's plugins.
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
    let mut counters = |metric: &'static Metric, value: fn(&PluginStats) -> u64| {
        let family = families.family(metric);
        plugins.iter().for_each(|plugin| {
            family.count(&[&plugin.name], value(plugin));
        });
    };
    counters(&catalogue::PLUGIN_DECISIONS, |plugin| plugin.decisions);
    counters(&catalogue::PLUGIN_FALLBACKS, |plugin| plugin.fallbacks);
    counters(&catalogue::PLUGIN_SHEDS, |plugin| plugin.sheds);
    counters(&catalogue::PLUGIN_WAITS, |plugin| plugin.waits);
    counters(&catalogue::PLUGIN_INSTANCES_CREATED, |plugin| plugin.pool.created);
    counters(&catalogue::PLUGIN_INSTANCES_RECYCLED, |plugin| plugin.pool.recycled);
    counters(&catalogue::PLUGIN_INSTANCES_DISCARDED, |plugin| plugin.pool.discarded);
    counters(&catalogue::PLUGIN_LOG_SUPPRESSED, |plugin| plugin.log_suppressed);
    counters(&catalogue::PLUGIN_TMP_REFUSALS, |plugin| plugin.tmp_refusals);
    counters(&catalogue::PLUGIN_COMPLETION_FAILURES, |plugin| plugin.completion_failures);
    counters(&catalogue::PLUGIN_EVENTS_DROPPED, |plugin| plugin.events_dropped);
    counters(&catalogue::PLUGIN_SWAPS, |plugin| plugin.swaps);
    counters(&catalogue::PLUGIN_ROLLBACKS, |plugin| plugin.rollbacks);
    counters(&catalogue::PLUGIN_DRAINS, |plugin| plugin.drains.drained);
    counters(&catalogue::PLUGIN_DRAINS_OVERDUE, |plugin| plugin.drains.overdue);
    counters(&catalogue::PLUGIN_DRAIN_MILLISECONDS, |plugin| {
        u64::try_from(plugin.drains.total.as_millis()).unwrap_or(u64::MAX)
    });
    let failures = families.family(&catalogue::PLUGIN_FAILURES);
    for plugin in plugins {
        for (cause, count) in &plugin.failures {
            failures.count(&[&plugin.name, cause.as_str()], *count);
        }
    }
    tell_gauges(plugins, families);
    let times = families.family(&catalogue::PLUGIN_DECISION_TIME);
    for plugin in plugins {
        times.histogram(&[&plugin.name], snapshot(&plugin.latency));
    }
}

fn tell_gauges(plugins: &[PluginStats], families: &mut Families) {
    let mut gauges = |metric: &'static Metric, value: fn(&PluginStats) -> usize| {
        let family = families.family(metric);
        plugins.iter().for_each(|plugin| {
            let value = u32::try_from(value(plugin)).unwrap_or(u32::MAX);
            family.gauge(&[&plugin.name], f64::from(value));
        });
    };
    gauges(&catalogue::PLUGIN_INSTANCES_IDLE, |plugin| plugin.pool.idle);
    gauges(&catalogue::PLUGIN_INSTANCES_BUSY, |plugin| plugin.pool.live.saturating_sub(plugin.pool.idle));
    gauges(&catalogue::PLUGIN_CALLERS_WAITING, |plugin| plugin.pool.waiting);
    gauges(&catalogue::PLUGIN_LIVE_GENERATIONS, |plugin| plugin.live_generations);
    gauges(&catalogue::PLUGIN_BREAKER_OPEN, |plugin| usize::from(plugin.breaker_open));
    let last = families.family(&catalogue::PLUGIN_DRAIN_LAST);
    for plugin in plugins {
        last.gauge(&[&plugin.name], plugin.drains.last.as_secs_f64());
    }
    let generation = families.family(&catalogue::PLUGIN_GENERATION);
    for plugin in plugins {
        let number = u32::try_from(plugin.generation).unwrap_or(u32::MAX);
        generation.gauge(&[&plugin.name], f64::from(number));
    }
}

/// Metrics of each live generation. They end with it; those of the plugin go on.
fn tell_generations(plugins: &[PluginStats], families: &mut Families) {
    let each = || plugins.iter().flat_map(|plugin| plugin.generations.iter().map(move |one| (plugin, one)));
    let decisions = families.family(&catalogue::PLUGIN_GENERATION_DECISIONS);
    for (plugin, one) in each() {
        decisions.count(&[&plugin.name, &one.generation.to_string()], one.decisions);
    }
    let failures = families.family(&catalogue::PLUGIN_GENERATION_FAILURES);
    for (plugin, one) in each() {
        for (cause, count) in &one.failures {
            failures.count(&[&plugin.name, &one.generation.to_string(), cause.as_str()], *count);
        }
    }
    let times = families.family(&catalogue::PLUGIN_GENERATION_DECISION_TIME);
    for (plugin, one) in each() {
        times.histogram(&[&plugin.name, &one.generation.to_string()], snapshot(&one.latency));
    }
}

/// Metrics that only some plugins have: a canary, a shadow, a pause.
fn tell_rollouts(factory: &PolicyFactory, families: &mut Families) {
    let names = factory.list_wasm_plugins();
    let plugins: Vec<PluginDetail> = names.iter().filter_map(|name| factory.plugin_detail(name)).collect();
    let paused = families.family(&catalogue::PLUGIN_PAUSED);
    for plugin in &plugins {
        paused.gauge(&[&plugin.name], f64::from(u8::from(plugin.state == PluginStatus::Paused)));
    }
    let share = families.family(&catalogue::PLUGIN_CANARY_SHARE);
    for plugin in &plugins {
        let percent = canary_percent(factory, &plugin.name).unwrap_or(0.0);
        share.gauge(&[&plugin.name], percent / 100.0);
    }
    let agreement = families.family(&catalogue::PLUGIN_SHADOW_AGREEMENT);
    for (plugin, rate) in plugins.iter().filter_map(|one| Some((one, one.shadow?.agreement_rate?))) {
        agreement.gauge(&[&plugin.name], rate);
    }
    let mut counts = |metric: &'static Metric, value: fn(&ShadowReport) -> u64| {
        let family = families.family(metric);
        for (plugin, report) in plugins.iter().filter_map(|one| Some((one, one.shadow?))) {
            family.count(&[&plugin.name], value(&report));
        }
    };
    counts(&catalogue::PLUGIN_SHADOW_COMPARED, |report| report.compared);
    counts(&catalogue::PLUGIN_SHADOW_AGREED, |report| report.agreed);
    counts(&catalogue::PLUGIN_SHADOW_SKIPPED, |report| report.skipped);
}

/// The times of decisions, in the bounds of their metric.
pub(crate) fn snapshot(latency: &LatencyCounts) -> HistogramSnapshot {
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
