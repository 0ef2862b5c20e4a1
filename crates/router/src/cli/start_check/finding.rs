//! What was found that is wrong, and what to do about it.

use serde::Serialize;

use sglang_router_rs::config::{Fault, FaultKind};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckFinding {
    /// The key or the flag, as `server.tls.cert_path`; empty for the file as a whole.
    pub(crate) key: String,
    /// Line in the configuration file, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// All that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CheckFindings {
    /// With any of these a router does not start.
    pub(crate) faults: Vec<CheckFinding>,
    /// With these it starts.
    pub(crate) warnings: Vec<CheckFinding>,
}

impl CheckFinding {
    pub(crate) fn new(key: impl Into<String>, problem: impl ToString, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), line: None, problem: problem.to_string(), remedy: remedy.into() }
    }

    /// A fault of the configuration.
    pub(crate) fn of(fault: &Fault) -> Self {
        let (problem, remedy) = match &fault.kind {
            FaultKind::Text(text)
                if fault.path.starts_with("keys.clients_file") && !text.contains("cannot be read") =>
            {
                (text.clone(), "write it as `sgl-router key new --name NAME` prints it".to_owned())
            }
            FaultKind::Value { found, allowed } => (format!("found {found}"), format!("allowed: {allowed}")),
            FaultKind::Text(text) if text.contains("cannot be read") => {
                (text.clone(), "name a file that is there and that the router's user can read".to_owned())
            }
            FaultKind::Text(text) if text.starts_with("refused: ") => {
                (text.clone(), "leave it out; docs/migration.md says what there is instead".to_owned())
            }
            FaultKind::Text(text) if text.contains("unknown field") => {
                (text.clone(), "spell it as one of these, or leave it out".to_owned())
            }
            FaultKind::Text(text) => (text.clone(), "write it as docs/router.example.toml shows".to_owned()),
        };
        Self { key: fault.path.clone(), line: fault.line, problem, remedy }
    }
}

impl CheckFindings {
    /// Adds a fault, unless one of the same key or of a table around it was found: it would be the same.
    pub(crate) fn fault(&mut self, fault: CheckFinding) {
        let is_told = self.faults.iter().any(|known| {
            !known.key.is_empty()
                && fault
                    .key
                    .strip_prefix(&known.key)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if !is_told {
            self.faults.push(fault);
        }
    }

    /// Adds a fault, or a warning if a router does without.
    pub(crate) fn add(&mut self, is_needed: bool, finding: CheckFinding) {
        if is_needed { self.fault(finding) } else { self.warnings.push(finding) }
    }

    /// True if something in this table was found to be at fault.
    pub(crate) fn has_below(&self, table: &str) -> bool {
        self.faults.iter().any(|fault| fault.key.starts_with(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_of_the_same_key_or_a_table_around_it_is_told_once() {
        let mut findings = CheckFindings::default();
        for key in ["", "tokenizers[0].path", "tokenizers[0].path", "tokenizers[0]", "server", "server.tls"] {
            findings.fault(CheckFinding::new(key, "wrong", "right"));
        }
        let keys: Vec<&str> = findings.faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["", "tokenizers[0].path", "tokenizers[0]", "server"]);
        assert!(findings.has_below("tokenizers[0]") && !findings.has_below("tokenizers[1]"));
    }
}
