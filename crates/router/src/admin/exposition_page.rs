//! What several engines tell Prometheus, as one page: each sample gets the label `worker_addr`, as at
//! sglang-router, and what is of one name stands together.

use std::collections::BTreeMap;

/// The label that says which worker a sample is of.
const LABEL: &str = "worker_addr";

/// One name: what is said of it, and its samples.
#[derive(Debug, Default)]
struct OneName {
    /// Lines `# HELP` and `# TYPE` of the first worker that has them.
    head: Vec<String>,
    samples: Vec<String>,
}

/// The page so far.
#[derive(Debug, Default)]
pub(crate) struct ExpositionPage {
    names: BTreeMap<String, OneName>,
    faults: Vec<String>,
}

impl ExpositionPage {
    /// Adds what a worker told. Lines that are neither samples nor say something of a name are left out.
    pub(crate) fn add(&mut self, worker: &str, text: &str) {
        let label = format!("{LABEL}=\"{}\"", escaped(worker));
        let (mut current, mut is_first) = (String::new(), false);
        for line in text.lines().map(str::trim_end) {
            if let Some(about) = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
                let name = about.split(' ').next().unwrap_or_default();
                if name != current {
                    name.clone_into(&mut current);
                    is_first = !self.names.contains_key(name);
                }
                let of_name = self.names.entry(current.clone()).or_default();
                if is_first {
                    of_name.head.push(line.to_owned());
                }
            } else if let Some((name, sample)) = labelled(line, &label) {
                // Of a histogram there are also names with something behind its own.
                let is_of_current = !current.is_empty() && name.starts_with(&current);
                let of_name = if is_of_current { current.as_str() } else { name };
                self.names.entry(of_name.to_owned()).or_default().samples.push(sample);
            }
        }
    }

    /// Adds a line about a worker that told nothing.
    pub(crate) fn add_fault(&mut self, worker: &str, fault: &str) {
        self.faults.push(format!("# {worker}: {fault}").replace(['\n', '\r'], " "));
    }

    /// The page as text.
    pub(crate) fn text(self) -> String {
        let of_names = self.names.into_values().flat_map(|one| one.head.into_iter().chain(one.samples));
        of_names.chain(self.faults).map(|line| line + "\n").collect()
    }
}

/// The name of a sample, and the sample with another label before its own.
fn labelled<'a>(line: &'a str, label: &str) -> Option<(&'a str, String)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_at(line.find(['{', ' ', '\t'])?);
    let Some(labels) = rest.strip_prefix('{') else {
        return Some((name, format!("{name}{{{label}}}{rest}")));
    };
    let comma = if labels.trim_start().starts_with('}') { "" } else { "," };
    Some((name, format!("{name}{{{label}{comma}{labels}")))
}

/// A value of a label as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_with_their_workers() {
        let mut page = ExpositionPage::default();
        let of = |value: u32| {
            format!(
                "# HELP queue Waiting.\n# TYPE queue gauge\nqueue {value}\n# HELP t Time.\n# TYPE t histogram\n\
                 t_bucket{{le=\"1\",m=\"}}\"}} {value} 17\nt_sum{{}} 2\n# EOF\n\nnonsense\n"
            )
        };
        page.add("http://a:1", &of(1));
        page.add("http://b:1", &of(2));
        page.add_fault("http://c:1", "away\nfor good");
        let expected = "# HELP queue Waiting.\n# TYPE queue gauge\nqueue{worker_addr=\"http://a:1\"} 1\n\
                        queue{worker_addr=\"http://b:1\"} 2\n# HELP t Time.\n# TYPE t histogram\n\
                        t_bucket{worker_addr=\"http://a:1\",le=\"1\",m=\"}\"} 1 17\nt_sum{worker_addr=\"http://a:1\"} 2\n\
                        t_bucket{worker_addr=\"http://b:1\",le=\"1\",m=\"}\"} 2 17\nt_sum{worker_addr=\"http://b:1\"} 2\n\
                        # http://c:1: away for good\n";
        assert_eq!(page.text(), expected);
    }
}
