//! What a metric is: its name, its kind, its labels, and one line of help.

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever grows; the page adds `_total` to the name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by upper bound.
    Histogram,
}

/// One metric. All of them are in `crate::metrics::catalogue`.
#[derive(Debug)]
pub struct Metric {
    /// What its name on the page starts with, before an underscore; empty for the names that all programs
    /// have.
    pub prefix: &'static str,
    /// Without the prefix and, for counters, without `_total`.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// The names of its labels, in the order in which a sample gives their values.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

impl Metric {
    /// What the names of the router's own metrics start with.
    pub const PREFIX: &'static str = "sgl_router";

    /// The name of its samples on the page, as queries write it. A histogram's carry a suffix more.
    pub fn full_name(&self) -> String {
        let total = if self.kind == MetricKind::Counter { "_total" } else { "" };
        let underscore = if self.prefix.is_empty() { "" } else { "_" };
        format!("{}{underscore}{}{total}", self.prefix, self.name)
    }
}
