//! Where a module comes from, and what came with it.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::policies::wasm::load::trust::format::MAX_SIGNATURE_BYTES;
use crate::types::{file, shown_path};

/// Where a module comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// It was sent as bytes: pushed over the operations API, or given by an embedder.
    #[default]
    Push,
    /// It was read from a file.
    File {
        /// Its path, as it was named.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        path: PathBuf,
    },
    /// It was read from an OCI registry.
    Registry {
        /// What it is called there, with the digest of its manifest: `oci://HOST/REPOSITORY@sha256:…`.
        reference: String,
    },
    /// It is part of the program. No rule about signatures is for it: who could change it could change the
    /// program.
    Embedded,
}

impl Origin {
    /// A file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push => f.write_str("pushed"),
            Self::File { path } => write!(f, "file {}", shown_path(path)),
            Self::Registry { reference } => write!(f, "registry, {reference}"),
            Self::Embedded => f.write_str("embedded in the program"),
        }
    }
}

/// A module as it arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleBytes {
    /// The module.
    pub wasm: Vec<u8>,
    /// A detached signature, if there is one.
    pub signature: Option<Vec<u8>>,
    /// Where it comes from, which decides the rules it must meet.
    pub origin: Origin,
}

/// Sent, without a detached signature.
impl From<Vec<u8>> for ModuleBytes {
    fn from(wasm: Vec<u8>) -> Self {
        Self { wasm, ..Self::default() }
    }
}

/// Where the detached signature of a module's file is: `MODULE.sig`.
pub fn signature_file(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// The detached signature of a module's file; `None` if there is none.
///
/// # Errors
///
/// The system's error if there is one that cannot be read.
pub fn read_signature(module: &Path) -> io::Result<Option<Vec<u8>>> {
    file::read_if_there(&signature_file(module), MAX_SIGNATURE_BYTES as u64)
}
