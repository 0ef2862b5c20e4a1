//! Why an operation on a loaded plugin was not done.

use crate::policies::wasm::load::error::PluginError;

/// Why an operation on a loaded plugin was not done. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// No plugin of that name is loaded.
    #[error("no plugin named `{name}` is loaded")]
    NotFound {
        /// The name.
        name: String,
    },
    /// There is neither a canary nor a shadow.
    #[error("plugin `{name}` has no canary and no shadow to promote; load a generation as one first")]
    NothingToPromote {
        /// The name.
        name: String,
    },
    /// No previous generation is warm.
    #[error("plugin `{name}` has no warm generation to go back to{}", told(former.as_ref()))]
    NothingToRollBack {
        /// The name.
        name: String,
        /// The module of the generation before, if there was one that nothing was rolled back to or from.
        former: Option<FormerModule>,
    },
    /// The generation could not take over.
    #[error("the generation could not take over: {0}")]
    Plugin(#[from] PluginError),
}

/// The module of a generation that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerModule {
    /// Its path, as the load named it.
    pub path: String,
    /// Its SHA-256.
    pub digest: String,
}

fn told(former: Option<&FormerModule>) -> String {
    former.map_or_else(String::new, |FormerModule { path, digest }| {
        format!(
            ": the probation is over, and the module before, {path} (sha256 {digest}), has to be loaded again"
        )
    })
}

impl OperationError {
    /// Which kind of error it is, for programs, such as `nothing_to_promote`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "plugin_not_found",
            Self::NothingToPromote { .. } => "nothing_to_promote",
            Self::NothingToRollBack { .. } => "nothing_to_roll_back",
            Self::Plugin(error) => error.code(),
        }
    }
}
