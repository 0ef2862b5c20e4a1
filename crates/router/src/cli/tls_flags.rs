//! The flags of TLS and HTTP/2. Names follow `sglang-router` where it has one.

use std::path::PathBuf;

use clap::Args;

use crate::config::router::RouterConfig;
use crate::config::tls_section::ClientAuth;

/// Flags of `serve` for TLS and HTTP/2.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsArgs {
    /// PEM file of the certificate for clients, with those of its issuers; with it they speak TLS
    #[arg(long, value_name = "FILE")]
    pub tls_cert_path: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE")]
    pub tls_key_path: Option<PathBuf>,
    /// PEM file of the authorities of clients' certificates; with it they must show one
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca_path: Option<PathBuf>,
    /// Whether clients must show a certificate or may do without [default: required]
    #[arg(long, value_enum, value_name = "WHICH")]
    pub tls_client_auth: Option<ClientAuth>,
    /// Clients without TLS may speak HTTP/2 with prior knowledge
    #[arg(long)]
    pub h2c: bool,
    /// PEM files of authorities that are trusted for https:// workers, besides the system's
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub ca_cert_paths: Vec<PathBuf>,
    /// PEM file of the certificate that is shown to https:// workers that ask for one
    #[arg(long, value_name = "FILE")]
    pub client_cert_path: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE")]
    pub client_key_path: Option<PathBuf>,
}

fn set(flag: &Option<PathBuf>, field: &mut Option<PathBuf>) {
    if flag.is_some() {
        field.clone_from(flag);
    }
}

impl TlsArgs {
    /// Lays the flags over a configuration.
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        let (clients, workers) = (&mut config.server.tls, &mut config.upstream.tls);
        set(&self.tls_cert_path, &mut clients.cert_path);
        set(&self.tls_key_path, &mut clients.key_path);
        set(&self.tls_client_ca_path, &mut clients.client_ca_path);
        clients.client_auth = self.tls_client_auth.unwrap_or(clients.client_auth);
        config.server.http2.cleartext |= self.h2c;
        if !self.ca_cert_paths.is_empty() {
            workers.ca_cert_paths.clone_from(&self.ca_cert_paths);
        }
        set(&self.client_cert_path, &mut workers.client_cert_path);
        set(&self.client_key_path, &mut workers.client_key_path);
    }

    /// The key of each flag, and whether it was given.
    pub(crate) fn given(&self) -> [(&'static str, &'static str, bool); 8] {
        [
            ("server.tls.cert_path", "--tls-cert-path", self.tls_cert_path.is_some()),
            ("server.tls.key_path", "--tls-key-path", self.tls_key_path.is_some()),
            ("server.tls.client_ca_path", "--tls-client-ca-path", self.tls_client_ca_path.is_some()),
            ("server.tls.client_auth", "--tls-client-auth", self.tls_client_auth.is_some()),
            ("server.http2.cleartext", "--h2c", self.h2c),
            ("upstream.tls.ca_cert_paths", "--ca-cert-paths", !self.ca_cert_paths.is_empty()),
            ("upstream.tls.client_cert_path", "--client-cert-path", self.client_cert_path.is_some()),
            ("upstream.tls.client_key_path", "--client-key-path", self.client_key_path.is_some()),
        ]
    }
}
