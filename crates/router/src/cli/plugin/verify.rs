//! `verify`: what a router would say about a module's signatures.

use serde_json::json;

use crate::cli::plugin::args::VerifyArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::cli::plugin::signing;
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
pub(crate) fn verify(args: &VerifyArgs, json: bool) -> Result<(), CommandError> {
    let wasm = signing::read(&args.file)?;
    let digest = sha256(&wasm);
    let signature = signing::detached(&args.file, args.signature.as_deref())?;
    let module = ModuleBytes { wasm, signature, origin: Origin::file(&args.file) };
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

fn rules(args: &VerifyArgs) -> Result<Vec<TrustRule>, CommandError> {
    let Some(file) = &args.config else {
        let require = if args.all { Require::AllOfKeys } else { Require::AnyOfKeys };
        return Ok(vec![TrustRule { dir: None, require, keys: args.key.clone() }]);
    };
    let (config, faults) = read_config(file);
    if faults.is_empty() { Ok(config.trust) } else { Err(CommandError::Usage(Faults(faults).to_string())) }
}
