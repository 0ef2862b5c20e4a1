//! Modules in OCI registries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use sgl_oci::{PlainHttp, RegistrySettings};
use sglang_router_rs::config::Fault;

/// The folder of the state directory that modules of registries are kept in by default.
const IN_STATE_DIR: &str = "registry";

/// `[registry]`: modules whose path is `oci://…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySection {
    /// Directory where modules of registries are kept by their digests, made with mode 0700. Default:
    /// `registry` in the state directory; without one, none: a start needs the registry.
    pub cache: Option<PathBuf>,
    /// File with credentials, as `docker login` writes it. Default: docker's own, or podman's.
    pub credentials: Option<PathBuf>,
    /// Registries that are spoken to without TLS, besides those at loopback addresses: `HOST` or `HOST:PORT`
    /// as references have them. Default: none.
    pub plain_http: Vec<String>,
    /// PEM files of authorities whose certificates registries may have, besides the system's. Default: none.
    pub ca_cert_paths: Vec<PathBuf>,
    /// Seconds that one pull may take, with its retries: 1 to 600. Default: 60.
    pub timeout_secs: u64,
}

impl Default for RegistrySection {
    fn default() -> Self {
        let (plain_http, ca_cert_paths) = (Vec::new(), Vec::new());
        Self { cache: None, credentials: None, plain_http, ca_cert_paths, timeout_secs: 60 }
    }
}

/// How modules of registries are read and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleRegistrySettings {
    /// How registries are spoken to.
    pub client: RegistrySettings,
    /// Where modules are kept.
    pub cache: Option<PathBuf>,
}

impl RegistrySection {
    /// The settings, with the state directory that the router has.
    pub(crate) fn checked(
        &self,
        state_dir: Option<&Path>,
        faults: &mut Vec<Fault>,
    ) -> ModuleRegistrySettings {
        if !(1..=600).contains(&self.timeout_secs) {
            faults.push(Fault::value("registry.timeout_secs", self.timeout_secs, "1 to 600"));
        }
        for (position, host) in self.plain_http.iter().enumerate() {
            if host.is_empty() || host.contains('/') {
                let allowed = "HOST or HOST:PORT, as references have it, without a scheme";
                faults.push(Fault::value(
                    format!("registry.plain_http[{position}]"),
                    format!("{host:?}"),
                    allowed,
                ));
            }
        }
        let client = RegistrySettings {
            plain_http: PlainHttp::Hosts(self.plain_http.clone()),
            authorities: self.ca_cert_paths.clone(),
            credentials: self.credentials.clone(),
            time_limit: Duration::from_secs(self.timeout_secs),
            ..RegistrySettings::default()
        };
        let cache = self.cache.clone().or_else(|| state_dir.map(|dir| dir.join(IN_STATE_DIR)));
        ModuleRegistrySettings { client, cache }
    }
}
