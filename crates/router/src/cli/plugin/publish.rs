//! `publish`: writes a module, with its detached signature if it has one, at a registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::json;

use crate::cli::plugin::args::PublishArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::signing;
use sgl_oci::{ModuleReference, ModuleToPublish, RegistryError};
use sglang_router_rs::policies::{PluginError, WasmPolicyConfig, check_module, read_module};
use sglang_router_rs::types::{in_full, shown_path};

/// Publishes a module that a router could load.
///
/// # Errors
///
/// [`CommandError`].
///
/// # Cancel safety
///
/// Dropping the future may leave parts at the registry that nothing names.
pub(crate) async fn publish(
    args: &PublishArgs,
    authorities: &[PathBuf],
    json: bool,
) -> Result<(), CommandError> {
    let reference = ModuleReference::parse(&args.reference).map_err(RegistryError::from)?;
    let refused = |error: PluginError| match error {
        PluginError::Read { .. } => CommandError::Usage(in_full(&error)),
        error => CommandError::Unpublishable { file: shown_path(&args.file), reason: in_full(&error) },
    };
    let wasm = read_module(&args.file).map_err(refused)?.wasm;
    let facts = check_module(&wasm, WasmPolicyConfig::DEFAULT_MEMORY_BYTES, &args.allow_syscall);
    let manifest = facts.map_err(|fault| refused(fault.into()))?.manifest;
    let annotations = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), manifest.name),
        ("org.opencontainers.image.version".to_owned(), manifest.version),
    ]);
    let signature = signing::detached(&args.file, args.signature.as_deref())?.map(Bytes::from);
    let bytes = wasm.len();
    let module = ModuleToPublish { wasm: wasm.into(), annotations, signature };
    let published = args.registry.client(authorities).publish(&reference, &module).await?;
    let done = json!({
        "file": args.file, "reference": published.reference.to_string(), "digest": published.digest,
        "size_bytes": bytes, "replaced": published.replaced, "signature": published.signature,
    });
    print(&done, json, |_| {
        let signature = match published.signature {
            Some(digest) => format!("with its signature ({digest})"),
            None => "without a detached signature".to_owned(),
        };
        let moved = published.replaced.map(|before| format!("\n  the tag stood for {before} before"));
        format!("{}\n  {bytes} bytes, {signature}{}\n", published.reference, moved.unwrap_or_default())
    })
}
