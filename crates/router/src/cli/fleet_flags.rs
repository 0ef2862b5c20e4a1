//! The flags of `serve` for routers of a fleet.

use std::path::PathBuf;

use clap::Args;

use crate::cli::fleet_access_flags::FleetAccessFlags;
use crate::config::router::RouterConfig;

/// Flags of `serve` for routers of a fleet.
#[derive(Clone, Debug, Default, Args)]
pub struct FleetFlags {
    /// Makes the router one of a fleet that keeps its state in NATS, such as nats://nats.example:4222; several
    /// servers with commas between them
    #[arg(long, value_name = "URL")]
    pub fleet: Option<String>,
    /// Name of the fleet
    #[arg(long, value_name = "NAME")]
    pub fleet_name: Option<String>,
    /// Name of this router in the fleet, the same over restarts [default: the machine's name and the port]
    #[arg(long, value_name = "NAME")]
    pub fleet_router: Option<String>,
    /// Who asks.
    #[command(flatten)]
    pub access: FleetAccessFlags,
    /// PEM files of the authorities whose certificates NATS may have [default: the system's]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub fleet_ca_cert_paths: Vec<PathBuf>,
    /// Bytes a second at most that the other routers are told of which prompts were sent where; 0: none, and
    /// none are taken from them [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub fleet_prefix_bytes_per_sec: Option<u32>,
}

impl FleetFlags {
    /// Lays the flags over a configuration.
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        let (section, access) = (&mut config.fleet, &self.access);
        for (flag, key) in [
            (&self.fleet, &mut section.url),
            (&self.fleet_name, &mut section.name),
            (&self.fleet_router, &mut section.router),
            (&access.fleet_user, &mut section.user),
        ] {
            if flag.is_some() {
                key.clone_from(flag);
            }
        }
        for (flag, key) in [
            (&access.fleet_credentials, &mut section.credentials),
            (&access.fleet_nkey_file, &mut section.nkey_file),
            (&access.fleet_password_file, &mut section.password_file),
            (&access.fleet_token_file, &mut section.token_file),
            (&access.fleet_client_cert_path, &mut section.client_cert_path),
            (&access.fleet_client_key_path, &mut section.client_key_path),
        ] {
            if flag.is_some() {
                key.clone_from(flag);
            }
        }
        if !self.fleet_ca_cert_paths.is_empty() {
            section.ca_cert_paths.clone_from(&self.fleet_ca_cert_paths);
        }
        if let Some(replicas) = access.fleet_replicas {
            section.replicas = replicas;
        }
        if let Some(bytes) = self.fleet_prefix_bytes_per_sec {
            section.prefix_bytes_per_sec = bytes;
        }
    }

    /// The key of each flag, and whether it was given.
    pub(crate) fn given(&self) -> [(&'static str, &'static str, bool); 13] {
        let access = &self.access;
        [
            ("fleet.url", "--fleet", self.fleet.is_some()),
            ("fleet.name", "--fleet-name", self.fleet_name.is_some()),
            ("fleet.router", "--fleet-router", self.fleet_router.is_some()),
            ("fleet.credentials", "--fleet-credentials", access.fleet_credentials.is_some()),
            ("fleet.nkey_file", "--fleet-nkey-file", access.fleet_nkey_file.is_some()),
            ("fleet.user", "--fleet-user", access.fleet_user.is_some()),
            ("fleet.password_file", "--fleet-password-file", access.fleet_password_file.is_some()),
            ("fleet.token_file", "--fleet-token-file", access.fleet_token_file.is_some()),
            ("fleet.client_cert_path", "--fleet-client-cert-path", access.fleet_client_cert_path.is_some()),
            ("fleet.client_key_path", "--fleet-client-key-path", access.fleet_client_key_path.is_some()),
            ("fleet.ca_cert_paths", "--fleet-ca-cert-paths", !self.fleet_ca_cert_paths.is_empty()),
            ("fleet.replicas", "--fleet-replicas", access.fleet_replicas.is_some()),
            (
                "fleet.prefix_bytes_per_sec",
                "--fleet-prefix-bytes-per-sec",
                self.fleet_prefix_bytes_per_sec.is_some(),
            ),
        ]
    }
}
