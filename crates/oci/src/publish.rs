//! Writing a module, with a signature that refers to it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;

use crate::artifact_parts::{MAX_MANIFEST_BYTES, manifest_named};
use crate::exchange::{RegistryAnswer, RegistryRequest};
use crate::image_manifest::{Descriptor, EMPTY_CONFIG, ImageManifest, wasm_config};
use crate::media_types::{INDEX, MANIFEST};
use crate::module_reference::ModuleReference;
use crate::referrers;
use crate::registry_error::RegistryError;
use crate::registry_session::RegistrySession;
use crate::sha256_digest::Sha256Digest;

/// How often the list of referrers is written, against others who write it at the same moment.
const MAX_LIST_WRITES: usize = 5;

/// A module that is to be published.
#[derive(Clone, Debug, Default)]
pub struct ModuleToPublish {
    /// The module.
    pub wasm: Bytes,
    /// What is said of it.
    pub annotations: BTreeMap<String, String>,
    /// A detached signature of it.
    pub signature: Option<Bytes>,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedModule {
    /// The module, by its tag and its digest.
    pub reference: ModuleReference,
    /// The digest of its manifest.
    pub digest: Sha256Digest,
    /// What the tag stood for before, if that was something else.
    pub replaced: Option<Sha256Digest>,
    /// The digest of the signature's manifest.
    pub signature: Option<Sha256Digest>,
}

/// Writes everything, the tag last: who pulls by it finds the signature too.
///
/// # Errors
///
/// [`RegistryError`]; the tag stands for what it stood for, unless it was written already.
pub(crate) async fn module(
    session: &RegistrySession<'_>,
    tag: &str,
    module: &ModuleToPublish,
) -> Result<PublishedModule, RegistryError> {
    let replaced = match manifest_named(session, tag, None, &session.reference.to_string()).await {
        Ok(read) => Some(read.digest),
        Err(RegistryError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let config = Bytes::from(wasm_config(&module.wasm));
    upload(session, &config, "the configuration").await?;
    upload(session, &module.wasm, "the module").await?;
    let manifest = ImageManifest::of_module(&module.wasm, &config, module.annotations.clone()).to_bytes();
    let subject = Descriptor::of(MANIFEST, &manifest);
    let digest = subject.digest;
    put_manifest(session, &digest.to_string(), MANIFEST, &manifest).await?;
    let signature = match &module.signature {
        Some(signature) => Some(sign(session, signature, subject).await?),
        None => None,
    };
    put_manifest(session, tag, MANIFEST, &manifest).await?;
    let replaced = replaced.filter(|before| *before != digest);
    Ok(PublishedModule { reference: session.reference.with_digest(digest), digest, replaced, signature })
}

async fn sign(
    session: &RegistrySession<'_>,
    signature: &Bytes,
    subject: Descriptor,
) -> Result<Sha256Digest, RegistryError> {
    let signed = subject.digest;
    upload(session, &Bytes::from_static(EMPTY_CONFIG), "the configuration of the signature").await?;
    upload(session, signature, "the signature").await?;
    let manifest = ImageManifest::of_signature(signature, subject).to_bytes();
    let referrer = Descriptor::of(MANIFEST, &manifest);
    let answer = put_manifest(session, &referrer.digest.to_string(), MANIFEST, &manifest).await?;
    // A registry that keeps the list itself says so.
    if answer.header("oci-subject").is_none() {
        for _ in 0..MAX_LIST_WRITES {
            let Some((tag, index)) = referrers::list_with(session, signed, &referrer).await? else { break };
            put_manifest(session, &tag, INDEX, &index).await?;
        }
    }
    Ok(referrer.digest)
}

/// Writes a part, unless it is there.
async fn upload(session: &RegistrySession<'_>, bytes: &Bytes, what: &str) -> Result<(), RegistryError> {
    let digest = Sha256Digest::of(bytes);
    let what = format!("{what} for {}", session.reference);
    let place = session.url(&format!("blobs/{digest}"))?;
    let look =
        RegistryRequest { method: Method::HEAD, ..RegistryRequest::get(what.clone(), place, "*/*", 0) };
    match session.send(&look).await {
        Ok(_) => return Ok(()),
        Err(RegistryError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let request = |method, url, body: Bytes| RegistryRequest {
        what: what.clone(),
        method,
        url,
        media_type: "application/octet-stream".to_owned(),
        body,
        max_answer_bytes: MAX_MANIFEST_BYTES,
    };
    let begin = request(Method::POST, session.url("blobs/uploads/")?, Bytes::new());
    let begun = session.send(&begin).await?;
    let location = begun.header("location").unwrap_or_default();
    let place = begin.url.follow(location, session.exchange.plain)?.with_query("digest", &digest.to_string());
    session.send(&request(Method::PUT, place, bytes.clone())).await?;
    Ok(())
}

async fn put_manifest(
    session: &RegistrySession<'_>,
    name: &str,
    media_type: &str,
    bytes: &Bytes,
) -> Result<RegistryAnswer, RegistryError> {
    let what = format!("the manifest {name} for {}", session.reference);
    let request = RegistryRequest {
        what: what.clone(),
        method: Method::PUT,
        url: session.url(&format!("manifests/{name}"))?,
        media_type: media_type.to_owned(),
        body: bytes.clone(),
        max_answer_bytes: MAX_MANIFEST_BYTES,
    };
    let answer = session.send(&request).await?;
    let expected = Sha256Digest::of(bytes);
    let found = answer.header("docker-content-digest").and_then(Sha256Digest::parse);
    match found.filter(|found| *found != expected) {
        Some(found) => Err(RegistryError::Changed { what, found, expected }),
        None => Ok(answer),
    }
}
