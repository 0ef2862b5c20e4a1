//! Whether each request has a line, where, and how it looks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sglang_router_rs::config::Fault;

/// `[access_log]`: a line for each request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSection {
    /// File to which lines are appended, or `-` for standard output. It may be renamed or removed at any
    /// time: a new one of this name is made then. Default: none, no access log.
    pub file: Option<String>,
    /// How lines look: `json`, one object each; `common` or `combined`, as web servers have it. Default:
    /// `json`.
    pub format: LineForm,
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineForm {
    /// One JSON object.
    #[default]
    Json,
    /// The Common Log Format.
    Common,
    /// The same with `referer` and `user-agent`.
    Combined,
}

impl LineForm {
    /// All of them, by name.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Json, "json"), (Self::Common, "common"), (Self::Combined, "combined")];
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where lines go.
    pub target: LogTarget,
    /// How they look.
    pub form: LineForm,
}

impl AccessLogSettings {
    /// The settings, if there is to be an access log; what cannot be adds to `faults`.
    pub(crate) fn checked(section: &AccessLogSection, faults: &mut Vec<Fault>) -> Option<Self> {
        let file = section.file.as_deref()?;
        if file.is_empty() {
            faults.push(Fault::value("access_log.file", "\"\"", "a file, or - for standard output"));
        }
        let target = if file == "-" { LogTarget::Stdout } else { LogTarget::File(PathBuf::from(file)) };
        Some(Self { target, form: section.format })
    }
}
