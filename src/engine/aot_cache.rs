//! Compiled modules on disk, written and read by this engine only.
//!
//! Running a compiled file is running native code, so a file is used only if it lies in a
//! directory that only this user can write, has the name of the module's digest and of the
//! engine's settings, and carries the digest of its own content. Any doubt means compiling again.

use std::fs;
use std::hash::Hash;
use std::hash::Hasher;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest;
use sha2::Sha256;
use wasmtime::Module;

use crate::engine::error::EngineError;

/// Bytes before the artifact: the SHA-256 of the artifact.
const HEADER_BYTES: usize = 32;

/// A private directory of compiled modules.
#[derive(Debug)]
pub(crate) struct AotCache {
    directory: PathBuf,
    /// Digest of everything that compiled code depends on besides the module.
    settings: String,
}

impl AotCache {
    /// Opens the cache, making its directory if there is none.
    pub(crate) fn open(directory: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        make_private(directory).map_err(|error| {
            let what = format!("the compilation cache {} cannot be used: {error}", directory.display());
            EngineError::Start(what.into())
        })?;
        let mut settings = HashBytes(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut settings);
        Ok(Self { directory: directory.to_owned(), settings: hex(&settings.0.finalize()) })
    }

    /// The module from the cache; `None` if it is not there or not beyond doubt.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Option<Module> {
        let path = self.path(wasm);
        check_private(&path).ok()?;
        let file = fs::read(&path).ok()?;
        let (digest, artifact) = file.split_at_checked(HEADER_BYTES)?;
        if Sha256::digest(artifact).as_slice() != digest {
            tracing::warn!(file = %path.display(), "damaged file in the compilation cache; compiling again");
            return None;
        }
        #[expect(unsafe_code, reason = "wasmtime cannot check native code; this cache vouches for it")]
        // SAFETY: `serialize` of an engine with equal settings wrote these bytes: the name has the
        // digest of the settings, the content matches its digest, and only this user, as whom we
        // run anyway, can write files here.
        let module = unsafe { Module::deserialize(engine, artifact) };
        module.ok()
    }

    /// Keeps a compiled module. Failing to is logged and harms nothing.
    pub(crate) fn store(&self, module: &Module, wasm: &[u8]) {
        let path = self.path(wasm);
        let stored = module
            .serialize()
            .map_err(io::Error::other)
            .and_then(|artifact| write_atomically(&self.directory, &path, &artifact));
        if let Err(error) = stored {
            tracing::warn!(file = %path.display(), %error, "compiled module was not cached");
        }
    }

    fn path(&self, wasm: &[u8]) -> PathBuf {
        let settings = self.settings.get(..16).unwrap_or(&self.settings);
        self.directory.join(format!("{}-{settings}.aot", hex(&Sha256::digest(wasm))))
    }
}

fn write_atomically(directory: &Path, path: &Path, artifact: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&Sha256::digest(artifact))?;
    file.write_all(artifact)?;
    file.persist(path)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Feeds a `Hash` into SHA-256, whose result is the same in every process.
struct HashBytes(Sha256);

impl Hasher for HashBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    check_private(directory)
}

/// An error unless the file or directory belongs to this user and nobody else can write it.
#[cfg(unix)]
fn check_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let facts = fs::symlink_metadata(path)?;
    // What we make ourselves belongs to the user that we run as.
    let me = tempfile::tempfile()?.metadata()?.uid();
    if facts.file_type().is_symlink() {
        return Err(io::Error::other(format!("{} is a symbolic link", path.display())));
    }
    if facts.uid() != me || facts.mode() & 0o022 != 0 {
        let found = format!(
            "{} must belong to user {me} and be writable by nobody else (found: user {}, mode {:o})",
            path.display(),
            facts.uid(),
            facts.mode() & 0o777
        );
        return Err(io::Error::other(found));
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(not(unix))]
fn check_private(path: &Path) -> io::Result<()> {
    fs::symlink_metadata(path).map(|_| ())
}
