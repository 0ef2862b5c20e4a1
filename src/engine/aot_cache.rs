//! Compiled modules on disk, written and read by this engine only.
//!
//! Running a compiled file is running native code. So a file is used only if it lies in a directory that
//! only this user can write, belongs to this user, is named after the digests of the module and of the
//! engine's settings, and carries a digest over both and its own content: a file under another's name
//! does not pass. Any doubt means compiling again.

use std::hash::{Hash, Hasher};
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Module;

use crate::engine::error::EngineError;
use crate::engine::private_dir;
use crate::engine::private_dir::Bounds;
use crate::types::{file, hex, shown_path};

/// Bytes before the artifact: SHA-256 over the key and the content.
const HEADER_BYTES: usize = 32;

/// The digest in a file begins with this, so that files of another layout do not pass for ours.
const LAYOUT: &[u8] = b"sgl-router aot 2\0";

/// The extension of our files' names.
const EXTENSION: &str = "aot";

/// What the directory may hold: many times the needs of one router's plugins.
const BOUNDS: Bounds = Bounds { files: 256, bytes: 1 << 30 };

/// Largest file that is read: compiled code of the largest module has some multiple of its size.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Why a directory cannot hold the cache of compiled modules; `None` if it can. Makes a missing
/// directory, as the engine does with the first plugin.
pub fn fault(directory: &Path) -> Option<io::Error> {
    private_dir::make(directory).err()
}

/// A private directory of compiled modules. Beyond its bounds, the files unused for longest are removed.
#[derive(Debug)]
pub(crate) struct AotCache {
    directory: PathBuf,
    /// Digest of everything that compiled code depends on besides the module.
    settings: [u8; 32],
}

impl AotCache {
    /// Opens the cache, making its directory if there is none.
    pub(crate) fn open(directory: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        private_dir::make(directory).map_err(|error| {
            let what = format!("the compilation cache {} cannot be used: {error}", shown_path(directory));
            EngineError::Start(what.into())
        })?;
        let mut settings = HashBytes(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut settings);
        Ok(Self { directory: directory.to_owned(), settings: settings.0.finalize().into() })
    }

    /// The module from the cache; `None` if it is missing or in doubt.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Option<Module> {
        let key = self.key(wasm);
        let path = self.path(&key);
        let file = self.trusted(&path, &key)?;
        let (_, artifact) = file.split_at_checked(HEADER_BYTES)?;
        #[expect(unsafe_code, reason = "wasmtime cannot check native code; this cache vouches for it")]
        // SAFETY: `serialize` of an engine with equal settings wrote these bytes for this module: the
        // digest over settings, module and content is right, and only this user, as whom we run anyway,
        // can write here.
        let module = unsafe { Module::deserialize(engine, artifact) };
        module.ok()
    }

    /// The content of a file, if nothing about it is in doubt.
    fn trusted(&self, path: &Path, key: &[u8; 32]) -> Option<Vec<u8>> {
        let doubt = |reason: &dyn std::fmt::Display| {
            tracing::warn!(file = %shown_path(path), %reason, "not used from the compilation cache; compiling again");
        };
        // Each time: somebody may have opened it to others since.
        let file = private_dir::check(&self.directory).and_then(|()| private_dir::open(path, MAX_FILE_BYTES));
        let (file, facts) = match file {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                doubt(&error);
                return None;
            }
        };
        let used = file.try_clone().inspect_err(|error| doubt(error)).ok()?;
        let content = file::bytes_of(file, &facts, MAX_FILE_BYTES).inspect_err(|error| doubt(error)).ok()?;
        let is_whole = content
            .split_at_checked(HEADER_BYTES)
            .is_some_and(|(digest, artifact)| digest == seal(key, artifact).as_slice());
        if !is_whole {
            doubt(&"it is damaged, or another module's");
            return None;
        }
        // Marks it as used, so that others go first. If that fails, it goes earlier than it should.
        let _ = used.set_modified(SystemTime::now());
        Some(content)
    }

    /// Keeps a compiled module. A failure is logged and harms nothing.
    pub(crate) fn store(&self, module: &Module, wasm: &[u8]) {
        let key = self.key(wasm);
        let path = self.path(&key);
        let stored = private_dir::check(&self.directory)
            .and_then(|()| module.serialize().map_err(io::Error::other))
            .and_then(|artifact| self.write(&path, &key, &artifact));
        if let Err(error) = stored {
            tracing::warn!(file = %shown_path(&path), %error, "compiled module was not cached");
        }
        private_dir::prune(&self.directory, EXTENSION, BOUNDS, &path);
    }

    fn write(&self, path: &Path, key: &[u8; 32], artifact: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&seal(key, artifact))?;
        file.write_all(artifact)?;
        file.persist(path)?;
        Ok(())
    }

    /// Digest of the module and of the settings that it is compiled with.
    fn key(&self, wasm: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(Sha256::digest(wasm)).chain_update(self.settings).finalize().into()
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        self.directory.join(format!("{}.{EXTENSION}", hex::encode(key)))
    }
}

/// The digest at the beginning of a file.
fn seal(key: &[u8; 32], artifact: &[u8]) -> [u8; HEADER_BYTES] {
    Sha256::new().chain_update(LAYOUT).chain_update(key).chain_update(artifact).finalize().into()
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
