//! Modules in the fleet's own object store, under their digests.

use std::fmt::Write as _;

use async_nats::jetstream::object_store::{GetErrorKind, ObjectStore};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::buckets::{limited, module_store};
use crate::connection::FleetConnection;
use crate::fleet_state_error::FleetStateError;

/// Largest module, in bytes; as everywhere.
pub const MAX_MODULE_BYTES: usize = 32 << 20;

/// Largest detached signature, in bytes.
const MAX_SIGNATURE_BYTES: usize = 64 << 10;

/// A module with its detached signature, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetModule {
    /// The module.
    pub wasm: Vec<u8>,
    /// The signature.
    pub signature: Option<Vec<u8>>,
}

/// SHA-256, 64 hex digits.
pub fn digest_of(wasm: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(wasm) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Keeps a module; gives its digest. The signature is there before the module is.
///
/// # Errors
///
/// [`FleetStateError`].
///
/// # Cancel safety
///
/// Dropping the future may leave a part, which nobody finds.
pub async fn keep_module(
    connection: &FleetConnection,
    module: &FleetModule,
) -> Result<String, FleetStateError> {
    let (found, limit) = (module.wasm.len(), MAX_MODULE_BYTES);
    if found > limit {
        return Err(FleetStateError::TooLarge { what: "the module", found, limit });
    }
    let store = module_store(connection).await?;
    let digest = digest_of(&module.wasm);
    if let Some(signature) = &module.signature {
        put(&store, &signature_name(&digest), signature).await?;
    }
    put(&store, &digest, &module.wasm).await?;
    Ok(digest)
}

/// The module of a digest, held to it.
///
/// # Errors
///
/// [`FleetStateError::NoModule`], [`FleetStateError::Digest`], or what the server says.
///
/// # Cancel safety
///
/// Dropping the future ends it.
pub async fn kept_module(connection: &FleetConnection, digest: &str) -> Result<FleetModule, FleetStateError> {
    let store = module_store(connection).await?;
    let wasm = get(&store, digest, MAX_MODULE_BYTES).await?;
    let wasm = wasm.ok_or_else(|| FleetStateError::NoModule { digest: digest.to_owned() })?;
    let found = digest_of(&wasm);
    if found != digest {
        return Err(FleetStateError::Digest { expected: digest.to_owned(), found });
    }
    let signature = get(&store, &signature_name(digest), MAX_SIGNATURE_BYTES).await?;
    Ok(FleetModule { wasm, signature })
}

fn signature_name(digest: &str) -> String {
    format!("{digest}.sig")
}

async fn put(store: &ObjectStore, name: &str, mut bytes: &[u8]) -> Result<(), FleetStateError> {
    let kept = limited("keeping a module", store.put(name, &mut bytes)).await?;
    kept.map(drop).map_err(|error| FleetStateError::server("keeping a module")(error.into()))
}

async fn get(store: &ObjectStore, name: &str, limit: usize) -> Result<Option<Vec<u8>>, FleetStateError> {
    let what = "reading a module";
    let object = match limited(what, store.get(name)).await? {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FleetStateError::server(what)(error.into())),
    };
    let found = object.info().size;
    if found > limit {
        return Err(FleetStateError::TooLarge { what: "the module", found, limit });
    }
    let mut bytes = Vec::with_capacity(found);
    // One more than it may have shows that it has more than it says.
    let mut bounded = object.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1));
    let read = limited(what, bounded.read_to_end(&mut bytes)).await?;
    read.map_err(|error| FleetStateError::server(what)(error.into()))?;
    if bytes.len() > limit {
        return Err(FleetStateError::TooLarge { what: "the module", found: bytes.len(), limit });
    }
    Ok(Some(bytes))
}
