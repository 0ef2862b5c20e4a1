//! The flags that say how NATS is told who asks: of routers of a fleet, and of operators.

use std::path::PathBuf;

use clap::Args;

use crate::config::fleet_section::REPLICAS;
use sgl_fleet::access::FleetAccess;
use sgl_fleet::given_access::{GivenAccess, given_tls};
use sgl_fleet::tls_files::TlsFiles;

/// How NATS is told who asks.
#[derive(Clone, Debug, Default, Args)]
pub struct FleetAccessFlags {
    /// File of credentials for NATS: a JWT and its key (.creds)
    #[arg(long, global = true, value_name = "FILE", env = "SGL_ROUTER_FLEET_CREDENTIALS")]
    pub fleet_credentials: Option<PathBuf>,
    /// File with the seed of an nkey for NATS
    #[arg(long, global = true, value_name = "FILE", env = "SGL_ROUTER_FLEET_NKEY_FILE")]
    pub fleet_nkey_file: Option<PathBuf>,
    /// User at NATS
    #[arg(long, global = true, value_name = "NAME", env = "SGL_ROUTER_FLEET_USER")]
    pub fleet_user: Option<String>,
    /// File with that user's password
    #[arg(long, global = true, value_name = "FILE", env = "SGL_ROUTER_FLEET_PASSWORD_FILE")]
    pub fleet_password_file: Option<PathBuf>,
    /// File with a token for NATS
    #[arg(long, global = true, value_name = "FILE", env = "SGL_ROUTER_FLEET_TOKEN_FILE")]
    pub fleet_token_file: Option<PathBuf>,
    /// PEM file of a certificate that NATS is shown
    #[arg(long, global = true, value_name = "FILE", env = "SGL_ROUTER_FLEET_CLIENT_CERT_PATH")]
    pub fleet_client_cert_path: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, global = true, value_name = "FILE", env = "SGL_ROUTER_FLEET_CLIENT_KEY_PATH")]
    pub fleet_client_key_path: Option<PathBuf>,
    /// Servers of a cluster that keep each bucket, where there is none yet: 1, 3 or 5 [default: 1]
    #[arg(long, global = true, value_name = "NUMBER", env = "SGL_ROUTER_FLEET_REPLICAS")]
    pub fleet_replicas: Option<u8>,
}

impl FleetAccessFlags {
    /// Who asks.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags together.
    pub(crate) fn access(&self) -> Result<FleetAccess, String> {
        let given = GivenAccess {
            credentials: self.fleet_credentials.clone(),
            nkey_file: self.fleet_nkey_file.clone(),
            user: self.fleet_user.clone(),
            password_file: self.fleet_password_file.clone(),
            token_file: self.fleet_token_file.clone(),
        };
        given.checked()
    }

    /// Servers that keep each bucket.
    ///
    /// # Errors
    ///
    /// As for [`access`](Self::access).
    pub(crate) fn replicas(&self) -> Result<usize, String> {
        let replicas = self.fleet_replicas.unwrap_or(1);
        match REPLICAS.contains(&replicas) {
            true => Ok(usize::from(replicas)),
            false => Err(format!("--fleet-replicas {replicas}: 1, 3 or 5 are allowed")),
        }
    }

    /// The files for TLS, with these authorities.
    ///
    /// # Errors
    ///
    /// As for [`access`](Self::access).
    pub(crate) fn tls(&self, authorities: &[PathBuf]) -> Result<TlsFiles, String> {
        given_tls(
            authorities.to_vec(),
            self.fleet_client_cert_path.clone(),
            self.fleet_client_key_path.clone(),
        )
    }
}
