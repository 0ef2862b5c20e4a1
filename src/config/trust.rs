//! Whose signatures modules must carry, by where they come from.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a rule requires of a module's signatures.
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

/// `[[trust]]`: whose signatures the modules of one directory must carry, or the modules that no other
/// rule covers.
///
/// Rules belong to whoever starts the router. None may come from a directory whose writers they
/// restrict, so the `.toml` file beside a module cannot contain any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustRule {
    /// Modules below this directory. Default: every module that no other rule covers: pushed ones, and
    /// files and registries elsewhere.
    pub dir: Option<PathBuf>,
    /// Modules of this registry, of this repository, or of those below it, instead of a directory: `HOST` or
    /// `HOST/REPOSITORY`. Default: as above.
    pub registry: Option<String>,
    /// What they must carry. Default: `any-of keys`.
    pub require: Require,
    /// Public keys: files (PEM), directories whose `.pub` files are keys, or PEM texts. Files are
    /// read anew for every module that is loaded, so that keys can be added and removed while the
    /// router runs.
    pub keys: Vec<String>,
}

impl TrustRule {
    /// True if it is for what no other rule covers.
    pub fn is_for_everything_else(&self) -> bool {
        self.dir.is_none() && self.registry.is_none()
    }
}
