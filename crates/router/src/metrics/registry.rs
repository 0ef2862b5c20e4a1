//! All metrics of one process.

use std::fmt;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::metrics::families::Families;
use crate::metrics::metric::Metric;
use crate::metrics::process_numbers;

/// The registry: made once, passed in, shown by [`Metrics::page`].
#[derive(Debug)]
pub struct Metrics {
    registry: RwLock<Registry>,
    /// What all programs have.
    process: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The media type of [`page`](Self::page).
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A registry without metrics but those of the process.
    pub fn new() -> Self {
        let mut process = Registry::default();
        process.register_collector(Box::new(Told(process_numbers::tell)));
        Self { registry: RwLock::new(Registry::with_prefix(Metric::PREFIX)), process }
    }

    /// Has `tell` called at each scrape. It must not block.
    pub fn register(&self, tell: impl Fn(&mut Families) + Send + Sync + 'static) {
        self.registry.write().register_collector(Box::new(Told(tell)));
    }

    /// All metrics as OpenMetrics text, which Prometheus 2.5 and later read.
    ///
    /// # Errors
    ///
    /// If a closure tells a name or a value that the format cannot carry.
    pub fn page(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode_registry(&mut page, &self.registry.read())?;
        text::encode_registry(&mut page, &self.process)?;
        text::encode_eof(&mut page)?;
        Ok(page)
    }
}

struct Told<F>(F);

impl<F> fmt::Debug for Told<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl<F: Fn(&mut Families) + Send + Sync + 'static> Collector for Told<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut families = Families::default();
        (self.0)(&mut families);
        families.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::catalogue;
    use crate::metrics::histogram::DurationHistogram;
    use crate::metrics::metric::MetricKind;

    #[test]
    fn page_shows_what_closures_tell_in_openmetrics_text() {
        const BOUNDS: &[Duration] = &[Duration::from_nanos(100), Duration::from_millis(1)];
        const UP: Metric =
            Metric { prefix: Metric::PREFIX, name: "up", kind: MetricKind::Gauge, labels: &[], help: "Up" };
        const NONE: Metric = Metric {
            prefix: Metric::PREFIX,
            name: "none",
            kind: MetricKind::Gauge,
            labels: &[],
            help: "No samples",
        };
        const TIME: Metric = Metric {
            prefix: Metric::PREFIX,
            name: "time_seconds",
            kind: MetricKind::Histogram,
            labels: &["plugin"],
            help: "Time",
        };
        let metrics = Metrics::new();
        let histogram = DurationHistogram::new(BOUNDS);
        histogram.observe(Duration::from_nanos(50));
        histogram.observe(Duration::from_secs(1));
        metrics.register(move |families| {
            families.family(&catalogue::REQUESTS).count(&["chat", "2xx"], 3).count(&["ch\"at", "5xx"], 1);
            families.family(&UP).gauge(&[], 1.5);
            families.family(&NONE);
            families.family(&TIME).histogram(&["p"], histogram.snapshot());
        });
        let page = metrics.page().unwrap();
        for line in [
            "# TYPE sgl_router_requests counter",
            r#"sgl_router_requests_total{route="chat",status="2xx"} 3"#,
            r#"sgl_router_requests_total{route="ch\"at",status="5xx"} 1"#,
            "sgl_router_up 1.5",
            r#"sgl_router_time_seconds_bucket{le="1e-7",plugin="p"} 1"#,
            r#"sgl_router_time_seconds_bucket{le="0.001",plugin="p"} 1"#,
            r#"sgl_router_time_seconds_bucket{le="+Inf",plugin="p"} 2"#,
            r#"sgl_router_time_seconds_count{plugin="p"} 2"#,
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in:\n{page}");
        }
        assert!(!page.contains("none"), "{page}");
    }
}
