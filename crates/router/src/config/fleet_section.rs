//! The fleet that the router is one of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sgl_fleet::connection::{ConnectionSettings, FleetAddress};
use sgl_fleet::{FleetStateError, KeyPart};
use sglang_router_rs::config::Fault;

/// `[fleet]`: routers that serve the same plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetSection {
    /// Servers of NATS, with JetStream: `nats://HOST:PORT`, several with commas between them; `tls://` asks for
    /// TLS. Default: none, the router is in no fleet.
    #[serde(skip_serializing)]
    pub url: Option<String>,
    /// Name of the fleet: 1 to 64 letters, digits, `_` and `-`. Must be given with `url`.
    pub name: Option<String>,
    /// Name of this router in it, the same over restarts. Default: the machine's name and the port for
    /// clients.
    pub router: Option<String>,
    /// File of credentials (`.creds`). Default: none.
    pub credentials: Option<PathBuf>,
    /// PEM files of authorities whose certificates the servers may have, besides the system's. Default: none.
    pub ca_cert_paths: Vec<PathBuf>,
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetSettings {
    /// How NATS is spoken to; the router gives the connection a name.
    pub connection: ConnectionSettings,
    /// The fleet.
    pub fleet: KeyPart,
    /// The router; `None`: the machine and the port name it.
    pub router: Option<KeyPart>,
}

impl FleetSection {
    /// The settings; `None`: it is in no fleet.
    pub(crate) fn checked(&self, faults: &mut Vec<Fault>) -> Option<FleetSettings> {
        let Some(url) = &self.url else {
            if let Some(name) = &self.name {
                let allowed = "only with fleet.url (--fleet nats://HOST:PORT)";
                faults.push(Fault::value("fleet.name", format!("{name:?}"), allowed));
            }
            return None;
        };
        let mut fault =
            |path: &str, error: FleetStateError| faults.push(Fault::text(path, None, error.to_string()));
        let address = FleetAddress::parse(url).map_err(|error| fault("fleet.url", error)).ok();
        let name = self.name.as_deref().unwrap_or_default();
        let fleet = KeyPart::parse("fleet", name).map_err(|error| fault("fleet.name", error)).ok();
        let router = self.router.as_deref().map(|router| KeyPart::parse("router", router));
        let router = router.transpose().map_err(|error| fault("fleet.router", error)).ok()?;
        let (credentials, authorities) = (self.credentials.clone(), self.ca_cert_paths.clone());
        let connection =
            ConnectionSettings { address: address?, credentials, authorities, name: String::new() };
        Some(FleetSettings { connection, fleet: fleet?, router })
    }
}
