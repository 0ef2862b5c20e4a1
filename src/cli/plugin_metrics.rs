//! The metrics of plugins: decisions, their times, failures, instances, generations.

use std::time::Duration;

use crate::metrics::Families;
use crate::metrics::FamilyKind;
use crate::metrics::HistogramSnapshot;
use crate::metrics::Metrics;
use crate::policies::PolicyFactory;
use crate::policies::wasm::PluginStats;
use crate::policies::wasm::stats::LatencyCounts;

/// Bounds of the decision-time histogram as powers of two of a nanosecond: 128 ns to 34 s. The
/// first three hold what an undisturbed decision takes.
const BOUNDS: std::ops::RangeInclusive<u32> = 7..=35;

/// Has the metrics of the factory's plugins shown.
pub fn register(factory: &PolicyFactory, metrics: &Metrics) {
    let factory = factory.clone();
    metrics.register(move |families| tell(&factory.plugin_stats(), families));
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
    let generation = families.family("plugin_generation", "The generation that serves", FamilyKind::Gauge);
    for plugin in plugins {
        let number = u32::try_from(plugin.generation).unwrap_or(u32::MAX);
        generation.gauge(&[("plugin", &plugin.name)], f64::from(number));
    }
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
