//! Detached signatures, which refer to the manifest of what they sign.
//!
//! A registry of OCI 1.1 lists who refers to a manifest. Others keep the list under a tag that is named
//! after its digest, and whoever adds to it writes that tag; nobody orders two who do so at once, so it is
//! read again afterwards.

use bytes::Bytes;

use crate::artifact_parts::{MAX_MANIFEST_BYTES, blob, manifest_named};
use crate::exchange::RegistryRequest;
use crate::image_manifest::{Descriptor, ImageIndex, ImageManifest};
use crate::media_types::{INDEX, SIGNATURE};
use crate::registry_error::RegistryError;
use crate::registry_session::RegistrySession;
use crate::sha256_digest::Sha256Digest;

/// How many signatures of one module are read at most.
const MAX_SIGNATURES: usize = 16;

/// The signatures that refer to a manifest. One that is damaged or refers to something else is left out:
/// what the rules about signatures want decides.
///
/// # Errors
///
/// [`RegistryError`] if the registry has a fault that passes.
pub(crate) async fn signatures(
    session: &RegistrySession<'_>,
    subject: Sha256Digest,
) -> Result<Vec<Bytes>, RegistryError> {
    let mut found = Vec::new();
    for referrer in
        listed(session, subject).await?.iter().filter(|one| is_signature(one)).take(MAX_SIGNATURES)
    {
        match signature(session, referrer, subject).await {
            Ok(signature) => found.push(signature),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                let (module, signature) = (session.reference.to_string(), referrer.digest.to_string());
                tracing::warn!(module, signature, %error, "a signature at the registry is left out");
            }
        }
    }
    Ok(found)
}

fn is_signature(referrer: &Descriptor) -> bool {
    referrer.artifact_type.as_deref() == Some(SIGNATURE)
}

async fn signature(
    session: &RegistrySession<'_>,
    referrer: &Descriptor,
    subject: Sha256Digest,
) -> Result<Bytes, RegistryError> {
    let what = format!("a signature of {}", session.reference);
    let no_signature = |found: String| RegistryError::NoModule {
        what: what.clone(),
        found,
        expected: "one layer with a detached signature, of this very manifest",
    };
    let read = manifest_named(session, &referrer.digest.to_string(), Some(referrer.digest), &what).await?;
    let manifest = ImageManifest::read(&read.bytes, read.told.as_deref(), &what)?;
    if manifest.subject.as_ref().map(|found| found.digest) != Some(subject) {
        return Err(no_signature("one of something else".to_owned()));
    }
    match manifest.layers.as_slice() {
        [layer] if layer.media_type == SIGNATURE => {
            blob(session, layer, session.settings.max_signature_bytes, &what).await
        }
        layers => Err(no_signature(format!("{} layers", layers.len()))),
    }
}

/// What refers to a manifest, as the registry lists it, or as the tag does.
async fn listed(
    session: &RegistrySession<'_>,
    subject: Sha256Digest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let url = session.url(&format!("referrers/{subject}"))?.with_query("artifactType", SIGNATURE);
    let what = format!("the referrers of {subject}");
    let request = RegistryRequest::get(what, url, INDEX, MAX_MANIFEST_BYTES);
    match session.send(&request).await {
        Ok(answer) if is_index(answer.header("content-type")) => read_index(&answer.body),
        Err(error) if error.is_passing() => Err(error),
        // Registries before OCI 1.1 have no such path, and say so in many ways.
        _ => under_tag(session, subject).await,
    }
}

fn is_index(media_type: Option<&str>) -> bool {
    media_type.is_some_and(|found| found.split(';').next().unwrap_or_default().trim() == INDEX)
}

fn read_index(bytes: &[u8]) -> Result<Vec<Descriptor>, RegistryError> {
    let malformed = |error: serde_json::Error| RegistryError::Malformed {
        what: "the list of referrers".to_owned(),
        reason: error.to_string(),
    };
    serde_json::from_slice::<ImageIndex>(bytes).map(|index| index.manifests).map_err(malformed)
}

async fn under_tag(
    session: &RegistrySession<'_>,
    subject: Sha256Digest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let tag = tag_of(subject);
    match manifest_named(session, &tag, None, &tag).await {
        Ok(read) => read_index(&read.bytes),
        Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The tag under which a registry before OCI 1.1 has what refers to a manifest.
fn tag_of(subject: Sha256Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The list under the tag with one more in it, and that tag; none if it is there.
///
/// # Errors
///
/// [`RegistryError`].
pub(crate) async fn list_with(
    session: &RegistrySession<'_>,
    subject: Sha256Digest,
    referrer: &Descriptor,
) -> Result<Option<(String, Bytes)>, RegistryError> {
    let mut manifests = under_tag(session, subject).await?;
    if manifests.iter().any(|one| one.digest == referrer.digest) {
        return Ok(None);
    }
    manifests.push(Descriptor { artifact_type: Some(SIGNATURE.to_owned()), ..referrer.clone() });
    let index = ImageIndex { schema_version: 2, media_type: Some(INDEX.to_owned()), manifests };
    // Texts and numbers only: it can be JSON.
    Ok(Some((tag_of(subject), serde_json::to_vec(&index).unwrap_or_default().into())))
}
