//! Numbers from a page of OpenMetrics text.

use std::time::Duration;

/// The samples of a page.
#[derive(Debug)]
pub(crate) struct Page {
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    /// Label values of this page hold no commas, braces or quotes.
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.trim_matches('"').to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: labels.collect(), value: value.parse().ok()? })
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }
}

/// Decision times, as far as the page tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    /// How many decisions were timed.
    pub(crate) timed: f64,
    /// Half of them took at most this.
    pub(crate) p50: Duration,
    /// 99 of 100 took at most this.
    pub(crate) p99: Duration,
}

impl Page {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self { samples: lines.filter_map(Sample::parse).collect() }
    }

    fn of<'a>(&'a self, ending: &'a str, plugin: &'a str) -> impl Iterator<Item = &'a Sample> {
        let wanted = move |sample: &&Sample| {
            sample.name.ends_with(ending) && sample.label("plugin").is_some_and(|own| own == plugin)
        };
        self.samples.iter().filter(wanted)
    }

    /// Decision times of a plugin; `None` if none was timed.
    pub(crate) fn times(&self, plugin: &str) -> Option<Times> {
        let buckets = self.of("_plugin_decision_seconds_bucket", plugin);
        let mut buckets: Vec<(f64, f64)> =
            buckets.filter_map(|sample| Some((sample.label("le")?.parse().ok()?, sample.value))).collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let timed = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let at_most = |share: f64| {
            let (bound, _) = buckets.iter().find(|(_, count)| *count >= share * timed)?;
            Duration::try_from_secs_f64(*bound).ok()
        };
        Some(Times { timed, p50: at_most(0.5)?, p99: at_most(0.99)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE sgl_router_plugin_decisions counter
sgl_router_plugin_decisions_total{plugin="b"} 600
sgl_router_plugin_decision_seconds_bucket{le="0.000002",plugin="b"} 0
sgl_router_plugin_decision_seconds_bucket{le="0.000004",plugin="b"} 30
sgl_router_plugin_decision_seconds_bucket{le="0.001",plugin="b"} 40
sgl_router_plugin_decision_seconds_bucket{le="+Inf",plugin="b"} 40
# EOF
"#;

    #[test]
    fn times_of_one_plugin_are_read_from_the_page() {
        let page = Page::parse(TEXT);
        let times = page.times("b").unwrap();
        assert_eq!((times.timed, times.p50), (40.0, Duration::from_micros(4)));
        assert_eq!(times.p99, Duration::from_millis(1));
        assert_eq!(page.times("a"), None);
    }
}
