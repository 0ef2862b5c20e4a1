//! The flags of `serve` for routers of a fleet.

use std::path::PathBuf;

use clap::Args;

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
    /// File of credentials for NATS (.creds)
    #[arg(long, value_name = "FILE")]
    pub fleet_credentials: Option<PathBuf>,
}

impl FleetFlags {
    /// Lays the flags over a configuration.
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        let section = &mut config.fleet;
        for (flag, key) in [
            (&self.fleet, &mut section.url),
            (&self.fleet_name, &mut section.name),
            (&self.fleet_router, &mut section.router),
        ] {
            if flag.is_some() {
                key.clone_from(flag);
            }
        }
        if self.fleet_credentials.is_some() {
            section.credentials.clone_from(&self.fleet_credentials);
        }
    }

    /// The key of each flag, and whether it was given.
    pub(crate) fn given(&self) -> [(&'static str, &'static str, bool); 4] {
        [
            ("fleet.url", "--fleet", self.fleet.is_some()),
            ("fleet.name", "--fleet-name", self.fleet_name.is_some()),
            ("fleet.router", "--fleet-router", self.fleet_router.is_some()),
            ("fleet.credentials", "--fleet-credentials", self.fleet_credentials.is_some()),
        ]
    }
}
