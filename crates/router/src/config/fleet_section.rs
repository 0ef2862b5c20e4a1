//! The fleet that the router is one of.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sgl_fleet::connection::ConnectionSettings;
use sgl_fleet::fleet_address::FleetAddress;
use sgl_fleet::given_access::{GivenAccess, given_tls};
use sgl_fleet::{FleetStateError, KeyPart};
use sglang_router_rs::config::Fault;

/// `[fleet]`: routers that serve the same plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// File of credentials: a JWT and its key (`.creds`). Default: none. Of this, `nkey_file`, `user` and
    /// `token_file` one may be given.
    pub credentials: Option<PathBuf>,
    /// File with the seed of an nkey. Default: none.
    pub nkey_file: Option<PathBuf>,
    /// User at the servers. Default: that of the address, if there is one.
    pub user: Option<String>,
    /// File whose first line is that user's password.
    pub password_file: Option<PathBuf>,
    /// File whose first line is a token. Default: that of the address, if there is one.
    pub token_file: Option<PathBuf>,
    /// PEM files of the authorities whose certificates the servers may have. Default: the system's.
    pub ca_cert_paths: Vec<PathBuf>,
    /// PEM file with the certificate that the router shows to the servers, and those between it and its authority.
    /// Default: none.
    pub client_cert_path: Option<PathBuf>,
    /// PEM file with its key. Default: none.
    pub client_key_path: Option<PathBuf>,
    /// Servers of a cluster that keep each bucket, where this router makes it: 1, 3 or 5. Default: 1.
    pub replicas: u8,
    /// Bytes a second at most that the others are told of which prompts this router sent to which workers, for
    /// their `prefix_match`: 65,536 to 2,621,440; 0 = nobody is told, and nothing is taken from them. What is
    /// more is left out. It takes them only while a policy declares `prefix_match`. Default: 1 MiB.
    pub prefix_bytes_per_sec: u32,
}

/// What may be told a second, unless nothing is.
const PREFIX_BYTES: RangeInclusive<u32> = 64 << 10..=2560 << 10;

/// What a cluster can keep by majority.
pub(crate) const REPLICAS: [u8; 3] = [1, 3, 5];

impl Default for FleetSection {
    fn default() -> Self {
        Self {
            url: None,
            name: None,
            router: None,
            credentials: None,
            nkey_file: None,
            user: None,
            password_file: None,
            token_file: None,
            ca_cert_paths: Vec::new(),
            client_cert_path: None,
            client_key_path: None,
            replicas: 1,
            prefix_bytes_per_sec: 1 << 20,
        }
    }
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
    /// Bytes a second that the others are told of prompts; 0 = nothing.
    pub prefix_bytes_per_sec: u32,
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
        let prefix_bytes_per_sec = self.prefix_bytes_per_sec;
        if prefix_bytes_per_sec != 0 && !PREFIX_BYTES.contains(&prefix_bytes_per_sec) {
            let allowed = format!("0, or {} to {}", PREFIX_BYTES.start(), PREFIX_BYTES.end());
            faults.push(Fault::value("fleet.prefix_bytes_per_sec", prefix_bytes_per_sec, allowed));
        }
        if !REPLICAS.contains(&self.replicas) {
            faults.push(Fault::value("fleet.replicas", self.replicas, "1, 3 or 5".to_owned()));
        }
        let mut fault =
            |path: &str, error: FleetStateError| faults.push(Fault::text(path, None, error.to_string()));
        let address = FleetAddress::parse(url).map_err(|error| fault("fleet.url", error)).ok();
        let missing =
            || FleetStateError::Refused("must be given with fleet.url: --fleet-name NAME".to_owned());
        let fleet = self.name.as_deref().ok_or_else(missing).and_then(|name| KeyPart::parse("fleet", name));
        let fleet = fleet.map_err(|error| fault("fleet.name", error)).ok();
        let router = self.router.as_deref().map(|router| KeyPart::parse("router", router));
        let router = router.transpose().map_err(|error| fault("fleet.router", error)).ok()?;
        let mut said = |error: String| faults.push(Fault::text("fleet", None, error));
        let access = self.access().checked().map_err(&mut said).ok();
        let (certificate, key) = (self.client_cert_path.clone(), self.client_key_path.clone());
        let tls = given_tls(self.ca_cert_paths.clone(), certificate, key).map_err(&mut said).ok();
        let replicas = usize::from(self.replicas);
        let connection = ConnectionSettings {
            address: address?,
            access: access?,
            tls: tls?,
            replicas,
            name: String::new(),
        };
        Some(FleetSettings { connection, fleet: fleet?, router, prefix_bytes_per_sec })
    }

    fn access(&self) -> GivenAccess {
        GivenAccess {
            credentials: self.credentials.clone(),
            nkey_file: self.nkey_file.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            token_file: self.token_file.clone(),
        }
    }
}
