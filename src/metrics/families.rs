//! Metric families that are put together at the time of a scrape.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use crate::metrics::histogram::HistogramSnapshot;

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only ever grows; the page adds `_total` to the name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by upper bound.
    Histogram,
}

/// One metric with all its label values.
#[derive(Debug)]
pub struct Family {
    name: String,
    help: String,
    kind: FamilyKind,
    samples: Vec<(Vec<(String, String)>, Value)>,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Gauge(f64),
    Histogram(HistogramSnapshot),
}

impl Family {
    /// Adds a count. For [`FamilyKind::Counter`].
    pub fn count(&mut self, labels: &[(&str, &str)], count: u64) -> &mut Self {
        self.push(labels, Value::Count(count))
    }

    /// Adds a gauge. For [`FamilyKind::Gauge`].
    pub fn gauge(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.push(labels, Value::Gauge(value))
    }

    /// Adds a histogram. For [`FamilyKind::Histogram`].
    pub fn histogram(&mut self, labels: &[(&str, &str)], snapshot: HistogramSnapshot) -> &mut Self {
        self.push(labels, Value::Histogram(snapshot))
    }

    fn push(&mut self, labels: &[(&str, &str)], value: Value) -> &mut Self {
        let owned = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.samples.push((owned, value));
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metric_type = match self.kind {
            FamilyKind::Counter => MetricType::Counter,
            FamilyKind::Gauge => MetricType::Gauge,
            FamilyKind::Histogram => MetricType::Histogram,
        };
        let mut metric = encoder.encode_descriptor(&self.name, &self.help, None, metric_type)?;
        for (labels, value) in &self.samples {
            if labels.is_empty() {
                value.encode(&mut metric)?;
            } else {
                value.encode(&mut metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => encoder.encode_counter::<NoLabelSet, u64, f64>(count, None),
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Histogram(snapshot) => {
                encoder.encode_histogram::<NoLabelSet>(snapshot.sum, snapshot.count, &snapshot.buckets, None)
            }
        }
    }
}

/// The families that one closure tells at a scrape.
#[derive(Debug, Default)]
pub struct Families {
    families: Vec<Family>,
}

impl Families {
    /// Starts a family. `name` without a prefix and, for counters, without `_total`.
    pub fn family(&mut self, name: &str, help: &str, kind: FamilyKind) -> &mut Family {
        let family = Family { name: name.to_owned(), help: help.to_owned(), kind, samples: Vec::new() };
        let position = self.families.len();
        self.families.push(family);
        #[expect(clippy::indexing_slicing, reason = "pushed in the line before")]
        &mut self.families[position]
    }

    pub(crate) fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let with_samples = self.families.iter().filter(|family| !family.samples.is_empty());
        with_samples.into_iter().try_for_each(|family| family.encode(&mut encoder))
    }
}
