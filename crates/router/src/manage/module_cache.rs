//! Modules of registries on disk, so that a router starts with the registry away.
//!
//! ```text
//! DIR/blobs/<sha256>        manifests and modules, named by their digests
//! DIR/signatures/<sha256>   detached signatures of the manifest of that digest, as one
//! DIR/tags/<sha256>         a reference with a tag, and the digest that it stands for; named by the digest
//!                           of the reference without it
//! ```
//!
//! Files are written beside their place, synced and renamed, so each is whole or absent, and several routers
//! may share a directory. What a digest names is held to it at each use; a signature vouches for itself.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sgl_oci::{ImageManifest, ModuleReference, PulledModule, Sha256Digest};

use crate::manage::durable_file;
use crate::manage::kept_plugin::BadFile;
use sglang_router_rs::types::file;

/// Largest file that is read, in bytes: modules have a lower limit.
const MAX_BYTES: u64 = 64 << 20;

/// Largest file with a reference in it.
const MAX_TAG_BYTES: u64 = 4096;

/// A module that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachedModule {
    /// The module.
    pub(crate) wasm: Vec<u8>,
    /// Its detached signatures.
    pub(crate) signature: Option<Vec<u8>>,
}

/// The directory. All of it blocks.
#[derive(Clone, Debug)]
pub(crate) struct ModuleCache {
    dir: PathBuf,
}

impl ModuleCache {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The module of a manifest; none if it is not there.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if something of it cannot be read or is not what its digest names.
    pub(crate) fn module(&self, manifest: Sha256Digest) -> Result<Option<CachedModule>, BadFile> {
        let Some(bytes) = self.blob(manifest)? else { return Ok(None) };
        let file = self.blob_file(manifest);
        let unusable = |error: sgl_oci::RegistryError| BadFile::new(&file, error);
        let parsed = ImageManifest::read(&bytes, None, "the manifest").map_err(unusable)?;
        let layer = parsed.module_layer("the manifest").map_err(unusable)?.digest;
        let Some(wasm) = self.blob(layer)? else { return Ok(None) };
        let signatures = self.signature_file(manifest);
        let signature = file::read_if_there(&signatures, MAX_BYTES);
        let signature = signature.map_err(|error| BadFile::new(&signatures, error))?;
        Ok(Some(CachedModule { wasm, signature }))
    }

    /// Keeps a module, the manifest last: what it names is there then.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if something cannot be written.
    pub(crate) fn add(&self, pulled: &PulledModule, signature: Option<&[u8]>) -> Result<(), BadFile> {
        for folder in [self.blobs(), self.signatures(), self.tags()] {
            self.make(&folder)?;
        }
        let manifest = Sha256Digest::of(&pulled.manifest);
        if let Some(signature) = signature {
            durable_file::write(&self.signature_file(manifest), signature)?;
        }
        for bytes in [&pulled.wasm, &pulled.manifest] {
            durable_file::write(&self.blob_file(Sha256Digest::of(bytes)), bytes)?;
        }
        Ok(())
    }

    /// What a reference with a tag was found to stand for; none if it was not asked for yet.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if that cannot be read.
    pub(crate) fn pin(&self, tag: &ModuleReference) -> Result<Option<Sha256Digest>, BadFile> {
        let path = self.tag_file(tag);
        let bad = |reason: String| BadFile::new(&path, reason);
        let read = file::read_if_there(&path, MAX_TAG_BYTES).map_err(|error| bad(error.to_string()))?;
        let Some(bytes) = read else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
        let pinned = ModuleReference::parse(text.trim()).map_err(|error| bad(error.to_string()))?;
        match pinned.digest().filter(|digest| tag.with_digest(*digest) == pinned) {
            Some(digest) => Ok(Some(digest)),
            None => Err(bad(format!("found {pinned}; expected {tag} with a digest"))),
        }
    }

    /// Notes what a reference with a tag stands for.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be written.
    pub(crate) fn set_pin(&self, tag: &ModuleReference, digest: Sha256Digest) -> Result<(), BadFile> {
        self.make(&self.tags())?;
        durable_file::write(&self.tag_file(tag), format!("{}\n", tag.with_digest(digest)).as_bytes())
    }

    fn blob(&self, digest: Sha256Digest) -> Result<Option<Vec<u8>>, BadFile> {
        let path = self.blob_file(digest);
        let read = file::read_if_there(&path, MAX_BYTES).map_err(|error| BadFile::new(&path, error))?;
        let Some(bytes) = read else { return Ok(None) };
        let found = Sha256Digest::of(&bytes);
        if found == digest {
            Ok(Some(bytes))
        } else {
            Err(BadFile::new(&path, format!("its digest is {found}; it was changed or damaged")))
        }
    }

    fn make(&self, folder: &Path) -> Result<(), BadFile> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|error| BadFile::new(folder, error))
    }

    /// The folder of manifests and modules.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    /// The folder of signatures.
    pub(crate) fn signatures(&self) -> PathBuf {
        self.dir.join("signatures")
    }

    /// The folder of what tags stand for.
    pub(crate) fn tags(&self) -> PathBuf {
        self.dir.join("tags")
    }

    /// The file of a manifest or a module.
    pub(crate) fn blob_file(&self, digest: Sha256Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// The file of a manifest's signatures.
    pub(crate) fn signature_file(&self, manifest: Sha256Digest) -> PathBuf {
        self.signatures().join(manifest.hex())
    }

    fn tag_file(&self, tag: &ModuleReference) -> PathBuf {
        self.tags().join(Sha256Digest::of(tag.to_string().as_bytes()).hex())
    }
}

/// The module as it is used.
impl CachedModule {
    pub(crate) fn of(wasm: &Bytes, signature: Option<Vec<u8>>) -> Self {
        Self { wasm: wasm.to_vec(), signature }
    }
}
