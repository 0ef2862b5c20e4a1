//! Modules of registries, as commands that ask no router read them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use sgl_oci::{ModuleReference, PlainHttp, PulledModule, RegistryClient, RegistryError, RegistrySettings};
use sglang_router_rs::policies::trust::signing;
use sglang_router_rs::policies::{ModuleBytes, Origin};

/// How registries are spoken to.
#[derive(Clone, Debug, Args)]
pub struct RegistryFlags {
    /// Speaks to registries without TLS; those at loopback addresses are spoken to so anyway
    #[arg(long)]
    pub plain_http: bool,
    /// File with credentials, as `docker login` writes it [default: docker's own, or podman's]
    #[arg(long, value_name = "FILE")]
    pub registry_config: Option<PathBuf>,
    /// Seconds that it may take, with its retries
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub registry_timeout_secs: u64,
}

impl RegistryFlags {
    /// A client that trusts these authorities besides the system's.
    pub(crate) fn client(&self, authorities: &[PathBuf]) -> RegistryClient {
        RegistryClient::new(RegistrySettings {
            plain_http: if self.plain_http { PlainHttp::Everywhere } else { PlainHttp::Loopback },
            authorities: authorities.to_vec(),
            credentials: self.registry_config.clone(),
            time_limit: Duration::from_secs(self.registry_timeout_secs),
            ..RegistrySettings::default()
        })
    }

    /// Reads a module on a runtime of its own. Must not be called inside another.
    ///
    /// # Errors
    ///
    /// [`UnreadModule`].
    pub(crate) fn read(
        &self,
        reference: &ModuleReference,
        authorities: &[PathBuf],
    ) -> Result<ModuleBytes, UnreadModule> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pulled = runtime.block_on(self.client(authorities).pull(reference));
        Ok(module_bytes(&pulled.map_err(UnreadModule::Registry)?))
    }
}

/// Why a module of a registry was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadModule {
    /// The runtime could not be made.
    #[error("cannot start the runtime")]
    Runtime(#[from] io::Error),
    /// The registry, or the module there.
    #[error("{} ({})", .0, .0.code())]
    Registry(RegistryError),
}

/// The reference that stands where a file could be named; none if it is a file.
///
/// # Errors
///
/// [`RegistryError::Reference`].
pub(crate) fn reference_in(file: &Path) -> Result<Option<ModuleReference>, RegistryError> {
    let text = file.to_string_lossy();
    let reference = ModuleReference::is_one(&text).then(|| ModuleReference::parse(&text));
    Ok(reference.transpose()?)
}

/// The module with its signatures, as rules about them see it.
pub(crate) fn module_bytes(pulled: &PulledModule) -> ModuleBytes {
    let signature = signing::combine(&pulled.signatures);
    let origin = Origin::Registry { reference: pulled.reference.to_string() };
    ModuleBytes { wasm: pulled.wasm.to_vec(), signature, origin }
}
