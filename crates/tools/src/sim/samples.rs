//! Metrics in Prometheus' text form 0.0.4, as engines written in Python and C++ show them. (The library
//! that the rest uses writes OpenMetrics only.)

use std::fmt::Write;

/// Content type of the form.
pub(crate) const TEXT_0_0_4: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics as text.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    text: String,
}

impl Samples {
    /// Begins a family: what follows are its samples.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample. Values of labels are texts of ours, but for the model's name.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one sample.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.family(name, kind, help);
        self.sample(name, labels, value);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut samples = Samples::default();
        samples.single("a:b_total", "counter", "What it counts.", &[("model", "x\"y"), ("n", "1")], 2.0);
        samples.single("c", "gauge", "Plain.", &[], 0.5);
        let expected = "# HELP a:b_total What it counts.\n# TYPE a:b_total counter\n\
            a:b_total{model=\"x\\\"y\",n=\"1\"} 2\n# HELP c Plain.\n# TYPE c gauge\nc 0.5\n";
        assert_eq!(samples.into_text(), expected);
    }
}
