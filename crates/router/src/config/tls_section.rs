//! TLS: to clients, operators and Prometheus, and to workers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[server.tls]`, `[admin.tls]`, `[metrics.tls]`: TLS to those who connect. Without files there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTlsSection {
    /// PEM file of the certificate, those of its issuers behind it. Read again when it changes and at SIGHUP.
    /// Default: none, no TLS.
    pub cert_path: Option<PathBuf>,
    /// PEM file of its private key. Default: none.
    pub key_path: Option<PathBuf>,
    /// PEM file of the authorities of clients' certificates. Default: none, nobody is asked for one.
    pub client_ca_path: Option<PathBuf>,
    /// Whether a client must show a certificate of these (`required`) or may do without (`optional`).
    /// Default: `required`.
    pub client_auth: ClientAuth,
    /// Oldest version of TLS: `1.2` or `1.3`. Default: `1.2`.
    pub min_version: TlsVersion,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Who has none is refused.
    #[default]
    Required,
    /// Who shows one must have it from the authorities.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// Of 2008.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// Of 2018.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[server.http2]`: HTTP/2 to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http2Section {
    /// Whether clients that come over TLS may pick it (ALPN). Default: true.
    pub enabled: bool,
    /// Whether clients without TLS may speak it, too, with prior knowledge (h2c). Default: false.
    pub cleartext: bool,
    /// Requests of one connection at a time: 1 to 10,000. One more waits at the client. Default: 200.
    pub max_concurrent_streams: u32,
}

impl Default for Http2Section {
    fn default() -> Self {
        Self { enabled: true, cleartext: false, max_concurrent_streams: 200 }
    }
}

/// `[upstream.tls]`: TLS to workers whose URL is `https://…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerTlsSection {
    /// PEM files of authorities whose certificates workers may have. Read again when they change and at
    /// SIGHUP. Default: none.
    pub ca_cert_paths: Vec<PathBuf>,
    /// Whether those of the system are trusted too. Default: true.
    pub system_authorities: bool,
    /// PEM file of the certificate that is shown to workers that ask for one. Default: none.
    pub client_cert_path: Option<PathBuf>,
    /// PEM file of its private key. Default: none.
    pub client_key_path: Option<PathBuf>,
}

impl Default for WorkerTlsSection {
    fn default() -> Self {
        Self {
            ca_cert_paths: Vec::new(),
            system_authorities: true,
            client_cert_path: None,
            client_key_path: None,
        }
    }
}

/// TLS of one listener, with files that could be used when they were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerTlsSettings {
    /// File of the certificate.
    pub certificate: PathBuf,
    /// File of its key.
    pub key: PathBuf,
    /// File of the authorities of clients, and whether these must show a certificate.
    pub clients: Option<(PathBuf, ClientAuth)>,
    /// Oldest version.
    pub min_version: TlsVersion,
}

/// HTTP/2 to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http2Settings {
    /// Over TLS.
    pub over_tls: bool,
    /// Without TLS.
    pub cleartext: bool,
    /// Requests of one connection at a time.
    pub max_streams: u32,
}
