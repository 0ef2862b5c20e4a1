//! Whose signatures modules must carry, by where they come from.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a rule asks of a module's signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Require {
    /// One of the keys must have signed it. The default.
    #[default]
    #[serde(rename = "any-of keys")]
    AnyOfKeys,
    /// Every one of the keys must have signed it.
    #[serde(rename = "all-of keys")]
    AllOfKeys,
    /// Nothing.
    #[serde(rename = "none")]
    Nothing,
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnyOfKeys => "any-of keys",
            Self::AllOfKeys => "all-of keys",
            Self::Nothing => "none",
        })
    }
}

/// `[[trust]]`: whose signatures the modules of one directory must carry, or those that no other
/// rule is about.
///
/// Rules belong to who starts the router. None of them may come from a directory whose writer they
/// are to bind, so the `.toml` file beside a module cannot say anything of this kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustRule {
    /// Modules below this directory. Default: every module that no other rule is about: those that
    /// are pushed, and files elsewhere.
    pub dir: Option<PathBuf>,
    /// What is asked of them. Default: `any-of keys`.
    pub require: Require,
    /// Public keys: files (PEM), directories whose `.pub` files are keys, or PEM texts. Files are
    /// read anew for every module that is loaded, so that keys can be added and removed while the
    /// router runs.
    pub keys: Vec<String>,
}
