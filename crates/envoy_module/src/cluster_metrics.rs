//! What is counted of a cluster's decisions, in Envoy's statistics.

use sglang_router_rs::policies::PluginStats;

use crate::abi::{MetricId, MetricsScope};

/// Counters that grow by what the library has counted since the last time.
#[derive(Debug)]
pub(crate) struct ClusterMetrics {
    scope: MetricsScope,
    decisions: Grown,
    fallbacks: Grown,
    failures: Grown,
    sheds: Grown,
    swaps: Grown,
    refused_modules: MetricId,
    generation: MetricId,
    breaker_open: MetricId,
}

/// A counter, and what it shows.
#[derive(Debug)]
struct Grown {
    counter: MetricId,
    shown: u64,
}

impl Grown {
    fn new(scope: MetricsScope, name: &str) -> Self {
        Self { counter: scope.counter(name), shown: 0 }
    }

    fn show(&mut self, scope: MetricsScope, total: u64) {
        let more = total.saturating_sub(self.shown);
        if more > 0 {
            scope.add(self.counter, more);
            self.shown = total;
        }
    }
}

impl ClusterMetrics {
    /// Defines them. Only while Envoy waits for the new configuration.
    pub(crate) fn define(scope: MetricsScope) -> Self {
        Self {
            scope,
            decisions: Grown::new(scope, "sgl_policy_decisions_total"),
            fallbacks: Grown::new(scope, "sgl_policy_fallbacks_total"),
            failures: Grown::new(scope, "sgl_policy_failures_total"),
            sheds: Grown::new(scope, "sgl_policy_sheds_total"),
            swaps: Grown::new(scope, "sgl_policy_swaps_total"),
            refused_modules: scope.counter("sgl_policy_refused_modules_total"),
            generation: scope.gauge("sgl_policy_generation"),
            breaker_open: scope.gauge("sgl_policy_breaker_open"),
        }
    }

    /// Shows what was counted.
    pub(crate) fn show(&mut self, stats: &PluginStats) {
        let scope = self.scope;
        self.decisions.show(scope, stats.decisions);
        self.fallbacks.show(scope, stats.fallbacks);
        self.failures.show(scope, stats.failures.iter().map(|(_, count)| count).sum());
        self.sheds.show(scope, stats.sheds);
        self.swaps.show(scope, stats.swaps);
        scope.set(self.generation, stats.generation);
        scope.set(self.breaker_open, u64::from(stats.breaker_open));
    }

    /// Counts a module that was not taken.
    pub(crate) fn refuse_module(&self) {
        self.scope.add(self.refused_modules, 1);
    }
}
