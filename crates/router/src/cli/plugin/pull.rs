//! `pull`: reads a module from a registry, into a file or into the cache of a router.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::plugin::args::PullArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::registry_reading::module_bytes;
use crate::manage::digest::sha256;
use crate::manage::durable_file;
use crate::manage::durable_file::Readers;
use crate::manage::module_cache::ModuleCache;
use sgl_oci::{ModuleReference, PulledModule, RegistryError};
use sglang_router_rs::policies::ModuleBytes;
use sglang_router_rs::policies::trust::signature_file;
use sglang_router_rs::types::shown_path;

/// Pulls a module; of a tag, what it stands for now.
///
/// # Errors
///
/// [`CommandError`]; what was in the file stays.
///
/// # Cancel safety
///
/// Dropping the future writes nothing.
pub(crate) async fn pull(args: &PullArgs, authorities: &[PathBuf], json: bool) -> Result<(), CommandError> {
    let reference = ModuleReference::parse(&args.reference).map_err(RegistryError::from)?;
    let pulled = args.registry.client(authorities).pull(&reference).await?;
    let module = module_bytes(&pulled);
    let places = match &args.cache {
        Some(dir) => {
            keep(dir, &reference, &pulled, &module)?;
            vec![dir.clone()]
        }
        None => {
            let out = args.out.clone().unwrap_or_else(|| format!("{}.wasm", reference.stem()).into());
            write_beside(&out, &module)?
        }
    };
    let (digest, bytes) = (sha256(&module.wasm), module.wasm.len());
    let signatures = pulled.signatures.len();
    let done = json!({
        "reference": pulled.reference.to_string(), "digest": pulled.reference.digest(), "sha256": digest,
        "size_bytes": bytes, "signatures": signatures, "written": places,
    });
    print(&done, json, |_| {
        let places: Vec<String> = places.iter().map(|place| shown_path(place)).collect();
        let signed = match signatures {
            0 => "no detached signature".to_owned(),
            1 => "1 detached signature, not verified".to_owned(),
            many => format!("{many} detached signatures, not verified"),
        };
        let reference = &pulled.reference;
        format!("{reference}\n  {}: {bytes} bytes, sha256 {digest}, {signed}\n", places.join(", "))
    })
}

fn keep(
    dir: &Path,
    reference: &ModuleReference,
    pulled: &PulledModule,
    module: &ModuleBytes,
) -> Result<(), CommandError> {
    let cache = ModuleCache::new(dir);
    let unusable = |error: crate::manage::kept_plugin::BadFile| CommandError::Usage(error.to_string());
    cache.add(pulled, module.signature.as_deref()).map_err(unusable)?;
    match (reference.digest(), pulled.reference.digest()) {
        (None, Some(digest)) => cache.set_pin(reference, digest).map_err(unusable),
        _ => Ok(()),
    }
}

/// The module and its signatures; what was there is replaced as a whole.
fn write_beside(out: &Path, module: &ModuleBytes) -> Result<Vec<PathBuf>, CommandError> {
    let beside = signature_file(out);
    let failed = |file: &Path| {
        let file = shown_path(file);
        move |error: io::Error| CommandError::Usage(format!("{file}: {error}"))
    };
    match &module.signature {
        Some(signature) => {
            durable_file::replace(&beside, signature, Readers::AsUsual).map_err(failed(&beside))?
        }
        None if beside.exists() => {
            let found = "it is there, and the module that is pulled has no detached signature";
            let remedy = "remove it, or name another file with --out";
            return Err(CommandError::Usage(format!("{}: {found}; {remedy}", shown_path(&beside))));
        }
        None => {}
    }
    durable_file::replace(out, &module.wasm, Readers::AsUsual).map_err(failed(out))?;
    Ok([out.to_owned()].into_iter().chain(module.signature.as_ref().map(|_| beside)).collect())
}
