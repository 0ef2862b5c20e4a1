//! The client: pulls and publications, each within one limit of time.

use std::sync::Arc;

use sgl_upstream::{WorkerTls, WorkerTlsSettings};
use tokio::time::Instant;

use crate::exchange::Exchange;
use crate::module_reference::{ModuleReference, ReferenceError};
use crate::publish;
use crate::publish::{ModuleToPublish, PublishedModule};
use crate::pull;
use crate::pull::PulledModule;
use crate::registry_error::RegistryError;
use crate::registry_session::{Authorizations, RegistryAccess, RegistrySession};
use crate::registry_settings::RegistrySettings;

/// Speaks to registries.
///
/// # Concurrency
///
/// The lock of the authorizations is held to copy a text.
#[derive(Debug, Default)]
pub struct RegistryClient {
    settings: RegistrySettings,
    tls: Arc<WorkerTls>,
    authorizations: Authorizations,
}

impl RegistryClient {
    /// With these settings. Files that they name are read when they are needed.
    pub fn new(settings: RegistrySettings) -> Self {
        let authorities = settings.authorities.clone();
        let tls = WorkerTls::new(WorkerTlsSettings { authorities, ..WorkerTlsSettings::default() });
        Self { settings, tls, authorizations: Authorizations::default() }
    }

    /// Reads a module and what refers to it. Everything is what its digest names; of a tag, the manifest is
    /// what it stands for now.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up.
    pub async fn pull(&self, reference: &ModuleReference) -> Result<PulledModule, RegistryError> {
        pull::module(&self.session(reference, RegistryAccess::Pull)).await
    }

    /// Writes a module under a tag.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; [`RegistryError::Reference`] if it has no tag, or a digest.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave parts at the registry that nothing names.
    pub async fn publish(
        &self,
        reference: &ModuleReference,
        module: &ModuleToPublish,
    ) -> Result<PublishedModule, RegistryError> {
        let wrong = |reason| ReferenceError { found: reference.to_string(), reason };
        if reference.digest().is_some() {
            return Err(wrong("a digest cannot be chosen; name a tag alone to publish").into());
        }
        let tag = reference.tag().ok_or_else(|| wrong("it has no tag to publish under"))?;
        publish::module(&self.session(reference, RegistryAccess::Push), tag, module).await
    }

    fn session<'a>(&'a self, reference: &'a ModuleReference, access: RegistryAccess) -> RegistrySession<'a> {
        let Self { settings, tls, authorizations } = self;
        let limit = settings.time_limit;
        let exchange = Exchange { tls, plain: &settings.plain_http, deadline: Instant::now() + limit, limit };
        RegistrySession { settings, authorizations, reference, access, exchange }
    }
}
