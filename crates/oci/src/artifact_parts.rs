//! Manifests and layers, each held to its digest.

use bytes::Bytes;

use crate::exchange::RegistryRequest;
use crate::image_manifest::Descriptor;
use crate::media_types::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use crate::registry_error::RegistryError;
use crate::registry_session::RegistrySession;
use crate::sha256_digest::Sha256Digest;

/// Largest manifest that is read, in bytes: what registries must take.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// A manifest, and what its digest is.
pub(crate) struct ReadManifest {
    pub(crate) digest: Sha256Digest,
    pub(crate) bytes: Bytes,
    pub(crate) told: Option<String>,
}

/// Reads the manifest that a reference names: by its digest, where it has one.
///
/// # Errors
///
/// [`RegistryError`].
pub(crate) async fn manifest(session: &RegistrySession<'_>) -> Result<ReadManifest, RegistryError> {
    let reference = session.reference;
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    manifest_named(session, &name, reference.digest(), &reference.to_string()).await
}

/// Reads a manifest by its digest or its tag.
///
/// # Errors
///
/// [`RegistryError`].
pub(crate) async fn manifest_named(
    session: &RegistrySession<'_>,
    name: &str,
    expected: Option<Sha256Digest>,
    what: &str,
) -> Result<ReadManifest, RegistryError> {
    let accept = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_LIST].join(", ");
    let url = session.url(&format!("manifests/{name}"))?;
    let what = format!("the manifest of {what}");
    let request = RegistryRequest::get(what.clone(), url, &accept, MAX_MANIFEST_BYTES);
    let answer = session.send(&request).await?;
    let found = Sha256Digest::of(&answer.body);
    let told = answer.header("docker-content-digest").and_then(Sha256Digest::parse);
    if let Some(expected) = expected.or(told).filter(|expected| *expected != found) {
        return Err(RegistryError::Changed { what, found, expected });
    }
    let told = answer.header("content-type").map(str::to_owned);
    Ok(ReadManifest { digest: found, bytes: answer.body, told })
}

/// Reads a part, which must be as large as it says it is, and what its digest names.
///
/// # Errors
///
/// [`RegistryError`]; nothing is read of one that says that it is larger than may be.
pub(crate) async fn blob(
    session: &RegistrySession<'_>,
    part: &Descriptor,
    limit: u64,
    what: &str,
) -> Result<Bytes, RegistryError> {
    let (what, expected) = (what.to_owned(), part.digest);
    if part.size > limit {
        return Err(RegistryError::TooLarge { what, found: part.size, limit });
    }
    let url = session.url(&format!("blobs/{expected}"))?;
    let request = RegistryRequest::get(what.clone(), url, "*/*", part.size);
    let bytes = session.send(&request).await?.body;
    let found = Sha256Digest::of(&bytes);
    if found == expected { Ok(bytes) } else { Err(RegistryError::Changed { what, found, expected }) }
}
