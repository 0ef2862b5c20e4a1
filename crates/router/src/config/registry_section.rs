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
    /// MiB that the cache may have: what was used longest ago goes first, and nothing that a router names or that
    /// was used in the last two days: 1 to 1,000,000. Default: 1024.
    pub cache_max_mib: u64,
    /// Days after which a module that nobody used goes from the cache: 3 to 36,500. Default: 90.
    pub cache_unused_days: u64,
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
        Self {
            cache: None,
            cache_max_mib: 1024,
            cache_unused_days: 90,
            credentials: None,
            plain_http,
            ca_cert_paths,
            timeout_secs: 60,
        }
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
    /// And how many.
    pub bounds: CacheBounds,
}

/// What the cache of modules may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBounds {
    /// Bytes of all files.
    pub bytes: u64,
    /// How long a module stays that nobody uses.
    pub unused: Duration,
}

impl Default for CacheBounds {
    fn default() -> Self {
        let section = RegistrySection::default();
        Self::of(&section)
    }
}

impl CacheBounds {
    fn of(section: &RegistrySection) -> Self {
        let bytes = section.cache_max_mib.saturating_mul(1 << 20);
        Self { bytes, unused: Duration::from_secs(section.cache_unused_days.saturating_mul(86_400)) }
    }
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
        if !(1..=1_000_000).contains(&self.cache_max_mib) {
            faults.push(Fault::value("registry.cache_max_mib", self.cache_max_mib, "1 to 1000000"));
        }
        // Routers mark what they use once a day.
        if !(3..=36_500).contains(&self.cache_unused_days) {
            faults.push(Fault::value("registry.cache_unused_days", self.cache_unused_days, "3 to 36500"));
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
        ModuleRegistrySettings { client, cache, bounds: CacheBounds::of(self) }
    }
}
