//! The flags of `serve` for modules of registries.

use std::path::PathBuf;

use clap::Args;

use crate::config::router::RouterConfig;

/// Flags of `serve` for modules of registries.
#[derive(Clone, Debug, Default, Args)]
pub struct RegistryArgs {
    /// Directory where modules of registries are kept by their digests, so that a start does not need the
    /// registry [default: registry in --state-dir]
    #[arg(long, value_name = "DIR")]
    pub registry_cache: Option<PathBuf>,
    /// File with credentials for registries, as `docker login` writes it [default: docker's own, or podman's]
    #[arg(long, value_name = "FILE")]
    pub registry_config: Option<PathBuf>,
    /// Registries that are spoken to without TLS, besides those at loopback addresses
    #[arg(long, num_args = 1.., value_name = "HOST:PORT")]
    pub plain_http_registries: Vec<String>,
}

impl RegistryArgs {
    /// Lays the flags over a configuration.
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        let section = &mut config.registry;
        if self.registry_cache.is_some() {
            section.cache.clone_from(&self.registry_cache);
        }
        if self.registry_config.is_some() {
            section.credentials.clone_from(&self.registry_config);
        }
        if !self.plain_http_registries.is_empty() {
            section.plain_http.clone_from(&self.plain_http_registries);
        }
    }

    /// The key of each flag, and whether it was given.
    pub(crate) fn given(&self) -> [(&'static str, &'static str, bool); 3] {
        [
            ("registry.cache", "--registry-cache", self.registry_cache.is_some()),
            ("registry.credentials", "--registry-config", self.registry_config.is_some()),
            ("registry.plain_http", "--plain-http-registries", !self.plain_http_registries.is_empty()),
        ]
    }
}
