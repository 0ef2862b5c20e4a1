//! Metric families that are put together at the time of a scrape.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::metrics::histogram::HistogramSnapshot;
use crate::metrics::metric::{Metric, MetricKind};

/// One metric with all its label values.
#[derive(Debug)]
pub struct Family {
    metric: &'static Metric,
    samples: Vec<(Vec<(&'static str, String)>, SampleValue)>,
}

#[derive(Debug)]
enum SampleValue {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
    Histogram(HistogramSnapshot),
}

impl Family {
    /// Adds a count. For [`MetricKind::Counter`]. `labels` are the values of the metric's labels, in
    /// their order.
    pub fn count(&mut self, labels: &[&str], count: u64) -> &mut Self {
        self.push(labels, SampleValue::Count(count))
    }

    /// Adds a count of seconds. For [`MetricKind::Counter`]; `labels` as for [`count`](Self::count).
    pub fn seconds(&mut self, labels: &[&str], seconds: f64) -> &mut Self {
        self.push(labels, SampleValue::Seconds(seconds))
    }

    /// Adds a gauge. For [`MetricKind::Gauge`]; `labels` as for [`count`](Self::count).
    pub fn gauge(&mut self, labels: &[&str], value: f64) -> &mut Self {
        self.push(labels, SampleValue::Gauge(value))
    }

    /// Adds a histogram. For [`MetricKind::Histogram`]; `labels` as for [`count`](Self::count).
    pub fn histogram(&mut self, labels: &[&str], snapshot: HistogramSnapshot) -> &mut Self {
        self.push(labels, SampleValue::Histogram(snapshot))
    }

    fn push(&mut self, labels: &[&str], value: SampleValue) -> &mut Self {
        let metric = self.metric;
        debug_assert_eq!(labels.len(), metric.labels.len(), "a value for each label of {}", metric.name);
        debug_assert_eq!(value.kind(), metric.kind, "the kind of {}", metric.name);
        let values = labels.iter().map(|value| (*value).to_owned());
        self.samples.push((metric.labels.iter().copied().zip(values).collect(), value));
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metric_type = match self.metric.kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Histogram => MetricType::Histogram,
        };
        let mut metric = encoder.encode_descriptor(self.metric.name, self.metric.help, None, metric_type)?;
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

impl SampleValue {
    fn kind(&self) -> MetricKind {
        match self {
            Self::Count(_) | Self::Seconds(_) => MetricKind::Counter,
            Self::Gauge(_) => MetricKind::Gauge,
            Self::Histogram(_) => MetricKind::Histogram,
        }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => encoder.encode_counter::<NoLabelSet, u64, f64>(count, None),
            Self::Seconds(seconds) => encoder.encode_counter::<NoLabelSet, f64, f64>(seconds, None),
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
    /// Starts the family of a metric.
    pub fn family(&mut self, metric: &'static Metric) -> &mut Family {
        let family = Family { metric, samples: Vec::new() };
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
