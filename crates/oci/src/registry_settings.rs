//! How registries are used.

use std::path::PathBuf;
use std::time::Duration;

use crate::plain_http::PlainHttp;

/// How registries are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Who is spoken to without TLS. Default: loopback addresses.
    pub plain_http: PlainHttp,
    /// Files of authorities that are trusted besides the system's. Default: none.
    pub authorities: Vec<PathBuf>,
    /// The file with credentials. Default: docker's, or else podman's.
    pub credentials: Option<PathBuf>,
    /// For one pull or one publication, with its retries. Default: 60 s.
    pub time_limit: Duration,
    /// Largest module, in bytes. Default: 32 MiB.
    pub max_module_bytes: u64,
    /// Largest detached signature, in bytes. Default: 64 KiB.
    pub max_signature_bytes: u64,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            plain_http: PlainHttp::default(),
            authorities: Vec::new(),
            credentials: None,
            time_limit: Duration::from_secs(60),
            max_module_bytes: 32 << 20,
            max_signature_bytes: 64 << 10,
        }
    }
}
