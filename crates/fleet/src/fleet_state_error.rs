//! Why something of a fleet failed.

use std::error::Error;
use std::path::Path;

/// Why something of a fleet failed. What a router serves is never harmed by one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetStateError {
    /// A name that cannot be part of a key.
    #[error("{what} {found:?}: 1 to 64 letters, digits, `_` and `-` are allowed")]
    Name {
        /// Whose name it is.
        what: &'static str,
        /// The name.
        found: String,
    },
    /// The address of the servers, or what goes with it, cannot be used.
    #[error("{found}: {reason}; expected: nats://HOST:PORT, several with commas between them")]
    Address {
        /// What was given, without passwords.
        found: String,
        /// What is wrong.
        reason: String,
    },
    /// A file that goes with the address cannot be used.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The servers cannot be reached, or do not let anybody in.
    #[error("NATS at {address} cannot be reached: {source}")]
    Unreachable {
        /// Where they should be.
        address: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection is away.
    #[error("the connection to NATS is away")]
    Away,
    /// An answer did not come in time. A write may have been applied all the same.
    #[error("{what}: NATS did not answer in time")]
    TimedOut {
        /// What was asked for.
        what: &'static str,
    },
    /// A bucket or an object cannot be used.
    #[error("{what}: {source}")]
    Server {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A value of a bucket is none of ours, or of a later version.
    #[error("the value of {key} cannot be understood: {reason}")]
    Malformed {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// What was asked for cannot be done to what is there now.
    #[error("{0}")]
    Refused(String),
    /// Others kept changing the same value.
    #[error("{key} was changed by somebody else at each of {tries} tries; try again")]
    Contended {
        /// Its key.
        key: String,
        /// How often it was tried.
        tries: u32,
    },
    /// There is no such module.
    #[error("the fleet keeps no module sha256:{digest}")]
    NoModule {
        /// Its digest.
        digest: String,
    },
    /// A module is not what its digest names.
    #[error(
        "the module that is kept as sha256:{expected} is sha256:{found}: changed or damaged at the server"
    )]
    Digest {
        /// Its name.
        expected: String,
        /// What it is.
        found: String,
    },
    /// More than may be.
    #[error("{what} has {found} bytes; {limit} are allowed")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The most that is allowed.
        limit: usize,
    },
}

impl FleetStateError {
    /// Of a file, for this reason.
    pub(crate) fn file(file: &Path, reason: impl ToString) -> Self {
        Self::File { file: file.display().to_string(), reason: reason.to_string() }
    }

    /// An error of the server's, or of the way there.
    pub(crate) fn server(what: &'static str) -> impl FnOnce(async_nats::Error) -> Self {
        move |source| Self::Server { what, source }
    }

    /// True if it may pass by itself: the server is away, slow, or busy with others.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Away
                | Self::TimedOut { .. }
                | Self::Server { .. }
                | Self::Contended { .. }
        )
    }

    /// True if it lies with what was asked for.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}
