//! Reading a module, with whatever signatures refer to it.

use bytes::Bytes;

use crate::artifact_parts::{blob, manifest};
use crate::image_manifest::ImageManifest;
use crate::module_reference::ModuleReference;
use crate::referrers;
use crate::registry_error::RegistryError;
use crate::registry_session::RegistrySession;

/// A module, as its digests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledModule {
    /// What was asked for, by the digest of its manifest.
    pub reference: ModuleReference,
    /// The manifest, as the digest names it.
    pub manifest: Bytes,
    /// The module.
    pub wasm: Bytes,
    /// Detached signatures that refer to it; nothing is known yet of what they are worth.
    pub signatures: Vec<Bytes>,
}

/// Reads the module of a reference.
///
/// # Errors
///
/// [`RegistryError`].
pub(crate) async fn module(session: &RegistrySession<'_>) -> Result<PulledModule, RegistryError> {
    let what = session.reference.to_string();
    let read = manifest(session).await?;
    let parsed = ImageManifest::read(&read.bytes, read.told.as_deref(), &what)?;
    let layer = parsed.module_layer(&what)?;
    let wasm =
        blob(session, layer, session.settings.max_module_bytes, &format!("the module of {what}")).await?;
    let signatures = referrers::signatures(session, read.digest).await?;
    let reference = session.reference.with_digest(read.digest);
    Ok(PulledModule { reference, manifest: read.bytes, wasm, signatures })
}
