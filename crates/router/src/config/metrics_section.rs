//! Where Prometheus connects, and what it is told.

use serde::{Deserialize, Serialize};

use crate::config::tls_section::ListenerTlsSection;

/// `[metrics]`: where Prometheus connects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// IP address, or `localhost`. Default: `127.0.0.1`.
    pub host: String,
    /// Port; 0 = any free one. Default: 29000.
    pub port: u16,
    /// Names that requests may give as their `host`, besides `localhost` and loopback addresses;
    /// where the router listens beyond loopback, besides all IP addresses. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Whether the counts of tokens are read of all answers that have them. Otherwise they are read where
    /// somebody else needs them: a policy, keys of clients. Default: false.
    pub tokens: bool,
    /// TLS.
    pub tls: ListenerTlsSection,
}

impl Default for MetricsSection {
    fn default() -> Self {
        let tls = ListenerTlsSection::default();
        Self { host: "127.0.0.1".to_owned(), port: 29_000, allowed_hosts: Vec::new(), tokens: false, tls }
    }
}
