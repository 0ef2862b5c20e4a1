//! What is wrong with a configuration.

use std::fmt;

/// One fault: where it is and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Key path, such as `plugins[1].max_memory_bytes`; empty for the file as a whole.
    pub path: String,
    /// Line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong there.
    pub kind: FaultKind,
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A value that is not allowed.
    Value {
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A text that cannot be read: the message of its reader.
    Text(String),
}

impl Fault {
    /// A fault in a value: what was found, and what is allowed.
    pub fn value(path: impl Into<String>, found: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        let kind = FaultKind::Value { found: found.to_string(), allowed: allowed.to_string() };
        Self { path: path.into(), line: None, kind }
    }

    /// A fault in the text of a file.
    pub fn text(path: impl Into<String>, line: Option<usize>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), line, kind: FaultKind::Text(problem.into()) }
    }

    /// The same fault with a longer path: `key` is the table in which its path starts.
    #[must_use]
    pub fn below(self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{key}.{}", self.path) };
        Self { path, ..self }
    }

    /// The same fault with a path that starts outside the file.
    #[must_use]
    pub fn in_file(self, file: &str) -> Self {
        let path = if self.path.is_empty() { file.to_owned() } else { format!("{file}: {}", self.path) };
        Self { path, ..self }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { found, allowed } => write!(f, "found {found}; allowed: {allowed}"),
            Self::Text(problem) => f.write_str(problem),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.line) {
            ("", Some(line)) => write!(f, "line {line}: {}", self.kind),
            ("", None) => write!(f, "{}", self.kind),
            (path, Some(line)) => write!(f, "{path} (line {line}): {}", self.kind),
            (path, None) => write!(f, "{path}: {}", self.kind),
        }
    }
}

/// All faults of a configuration, one a line. Never empty.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// All of them in one line, for a log.
    pub fn in_one_line(&self) -> String {
        self.0.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} fault{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
