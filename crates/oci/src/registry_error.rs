//! What may go wrong with a registry.

use std::time::Duration;

use crate::module_reference::ReferenceError;
use crate::sha256_digest::Sha256Digest;

/// Why nothing came of a pull or a publication. Each says what was found, what was expected and, where
/// there is one, the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The reference is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry, or a place that it sends to, cannot be reached.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// It took too long in all.
    #[error("{what}: not done within {limit:?}; the limit is for all of it, with its retries")]
    TooSlow {
        /// What was asked for.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// The registry sends to a place that would be reached without TLS.
    #[error("the registry sends to {url}, which would be reached without TLS; expected https://. {PLAIN}")]
    Plain {
        /// Where to.
        url: String,
    },
    /// It wants credentials, or others.
    #[error("{registry} refuses {what}: {said}. {remedy}")]
    Unauthorized {
        /// Which.
        registry: String,
        /// What was asked for.
        what: String,
        /// What it said.
        said: String,
        /// What to do.
        remedy: String,
    },
    /// It has no such thing.
    #[error("{registry} does not have {what}: {said}")]
    NotFound {
        /// Which.
        registry: String,
        /// What was asked for.
        what: String,
        /// What it said.
        said: String,
    },
    /// It answered with another error.
    #[error("{registry} answers {status} to {what}: {said}")]
    Refused {
        /// Which.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// Something is larger than may be read. Nothing beyond the limit was read.
    #[error("{what} has {found} bytes or more; the limit is {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size, as far as it is known.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Something is not what its digest names.
    #[error(
        "{what} is not what was published: found {found}, expected {expected}; it was changed or damaged at the registry or on the way, and is not used"
    )]
    Changed {
        /// What.
        what: String,
        /// Its digest.
        found: Sha256Digest,
        /// The digest that it must have.
        expected: Sha256Digest,
    },
    /// It is no module of a known form.
    #[error("{what} is no module that a router can use: found {found}; expected {expected}")]
    NoModule {
        /// What was asked for.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An answer makes no sense.
    #[error("{what} cannot be understood: {reason}")]
    Malformed {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// A file of credentials, or a helper, cannot be used.
    #[error("the credentials of {place} cannot be used: {reason}")]
    Credentials {
        /// The file or the program.
        place: String,
        /// Why.
        reason: String,
    },
}

const PLAIN: &str = "Registries without TLS are used at loopback addresses, and others where that is \
                     allowed (--plain-http; in a router's configuration `registry.plain_http`)";

impl RegistryError {
    /// True if another attempt may succeed: nobody answered, or the registry had a fault of its own.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } => true,
            // What is not implemented stays so.
            Self::Refused { status, .. } => *status == 429 || (*status >= 500 && *status != 501),
            _ => false,
        }
    }

    /// A short name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reference(_) => "bad_reference",
            Self::Unreachable { .. } => "registry_unreachable",
            Self::TooSlow { .. } => "registry_too_slow",
            Self::Plain { .. } => "registry_without_tls",
            Self::Unauthorized { .. } => "registry_unauthorized",
            Self::NotFound { .. } => "not_in_registry",
            Self::Refused { .. } => "registry_refused",
            Self::TooLarge { .. } => "registry_too_large",
            Self::Changed { .. } => "registry_digest_mismatch",
            Self::NoModule { .. } => "registry_no_module",
            Self::Malformed { .. } => "registry_answer_malformed",
            Self::Credentials { .. } => "registry_credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_does_not_implement_does_not_pass_by_itself() {
        let refused = |status| RegistryError::Refused {
            registry: "r".to_owned(),
            what: "the referrers of a module".to_owned(),
            status,
            said: String::new(),
        };
        let passing = [400, 404, 410, 429, 500, 501, 503].map(|status| refused(status).is_passing());
        assert_eq!(passing, [false, false, false, true, true, false, true]);
    }
}
