//! `verify`: what a router would say about a module's signatures.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::plugin::args::VerifyArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::registry::pulled;
use crate::cli::plugin::signing;
use crate::cli::registry_reading::reference_in;
use crate::config::files::read_config;
use crate::manage::digest::sha256;
use sglang_router_rs::config::{Faults, Require, TrustRule};
use sglang_router_rs::policies::trust::PublicKey;
use sglang_router_rs::policies::{ModuleBytes, Origin, TrustPolicy};
use sglang_router_rs::types::shown_path;

/// Checks a module by keys, or by the rules of a router's configuration.
///
/// # Errors
///
/// [`CommandError::Unsigned`] says which rule it does not meet, [`CommandError::Usage`] what cannot be read.
///
/// # Cancel safety
///
/// Dropping the future prints nothing.
pub(crate) async fn verify(
    args: &VerifyArgs,
    authorities: &[PathBuf],
    json: bool,
) -> Result<(), CommandError> {
    let module = module(args, authorities).await?;
    let digest = sha256(&module.wasm);
    let trust = TrustPolicy::new(rules(args)?);
    trust.check_keys().map_err(|fault| CommandError::Usage(fault.to_string()))?;
    let refused = |reason: String| CommandError::Unsigned { file: shown_path(&args.file), reason };
    let vouched = trust.check(&module).map_err(|refusal| match args.config {
        Some(_) => refused(refusal.to_string()),
        None => refused(refusal.fault.to_string()),
    })?;
    let signed_by: Vec<_> =
        vouched.signers.iter().map(|key| json!({"key": key.id(), "comment": key.comment()})).collect();
    let done =
        json!({"file": args.file, "digest": digest, "signed_by": signed_by, "names_keys": vouched.claimed});
    let file = shown_path(&args.file);
    print(&done, json, |_| {
        let keys: Vec<String> = vouched.signers.iter().map(PublicKey::to_string).collect();
        match keys.as_slice() {
            [] => format!("{file}: no rule asks for a signature (sha256 {digest})\n"),
            keys => format!("{file}: signed by key {} (sha256 {digest})\n", keys.join(", ")),
        }
    })
}

/// The module, with its detached signatures.
async fn module(args: &VerifyArgs, authorities: &[PathBuf]) -> Result<ModuleBytes, CommandError> {
    if let Some(reference) = reference_in(&args.file)? {
        let module = pulled(&args.registry.client(authorities), &reference).await?;
        let named = args.signature.as_deref().map(signing::read).transpose()?;
        return Ok(ModuleBytes { signature: named.or(module.signature), ..module });
    }
    let wasm = signing::read(&args.file)?;
    let signature = signing::detached(&args.file, args.signature.as_deref())?;
    Ok(ModuleBytes { wasm, signature, origin: Origin::file(&args.file) })
}

fn rules(args: &VerifyArgs) -> Result<Vec<TrustRule>, CommandError> {
    let Some(file) = &args.config else {
        let require = if args.all { Require::AllOfKeys } else { Require::AnyOfKeys };
        return Ok(vec![TrustRule { require, keys: args.key.clone(), ..TrustRule::default() }]);
    };
    let (config, faults) = read_config(file);
    if faults.is_empty() { Ok(config.trust) } else { Err(CommandError::Usage(Faults(faults).to_string())) }
}
