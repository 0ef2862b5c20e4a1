//! `manifest`: shows what a module says of itself, or has it say that.

use std::path::Path;

use serde_json::json;
use sgl_policy_abi::{Concurrency, Input, Manifest, Wire};

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::manifest_args::ManifestArgs;
use crate::cli::plugin::output::print;
use crate::cli::plugin::signing::read;
use crate::config::near_names::nearest;
use crate::manage::durable_file;
use crate::manage::durable_file::Readers;
use sglang_router_rs::policies::{read_manifest, with_manifest};
use sglang_router_rs::types::{printable, shown_path};

/// Shows the manifest of a module; with what it is to be, writes a module that has it.
///
/// # Errors
///
/// [`CommandError::Usage`] for flags and files that do not fit, [`CommandError::Unsigned`] for a module that cannot
/// be read or changed.
pub(crate) fn manifest(args: &ManifestArgs, json: bool) -> Result<(), CommandError> {
    let wasm = read(&args.file)?;
    let fault = |reason| CommandError::Unsigned { file: shown_path(&args.file), reason };
    let known = read_manifest(&wasm);
    if !args.changes() {
        let manifest = known.map_err(fault)?;
        return print(&json!({"file": args.file, "manifest": manifest}), json, |_| {
            shown(&args.file, manifest.as_ref())
        });
    }
    // One that cannot be read is replaced: that is what this is for.
    let manifest = changed(args, known.ok().flatten())?;
    let bytes = with_manifest(&wasm, &manifest).map_err(fault)?;
    let out = args.out.clone().unwrap_or_else(|| args.file.clone());
    durable_file::replace(&out, &bytes, Readers::Of(&args.file))
        .map_err(|error| CommandError::Usage(format!("{}: {error}", shown_path(&out))))?;
    let done = json!({"file": args.file, "written": out, "manifest": manifest});
    print(&done, json, |_| shown(&out, Some(&manifest)))
}

/// The manifest that is there with what the flags say, or one of theirs alone.
fn changed(args: &ManifestArgs, known: Option<Manifest>) -> Result<Manifest, CommandError> {
    let mut manifest = known.unwrap_or_default();
    if let Some(inputs) = &args.inputs {
        manifest.inputs = inputs.iter().map(|name| input(name.trim())).collect::<Result<_, _>>()?;
        manifest.wire = Wire::Columns;
    }
    if args.rows {
        (manifest.wire, manifest.inputs) = (Wire::Rows, Vec::new());
    }
    if let Some(concurrency) = args.concurrency {
        manifest.concurrency = concurrency.into();
    }
    for (text, flag) in [
        (&mut manifest.name, &args.name),
        (&mut manifest.version, &args.version),
        (&mut manifest.description, &args.description),
    ] {
        if let Some(flag) = flag {
            text.clone_from(flag);
        }
    }
    if manifest.name.is_empty() {
        manifest.name = args.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    Ok(manifest)
}

fn input(name: &str) -> Result<Input, CommandError> {
    Input::parse(name).map_err(|_| {
        let names: Vec<String> = Input::named().map(|input| input.name().into_owned()).collect();
        let near = nearest(name, names.iter().map(String::as_str));
        let near = near.first().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        CommandError::Usage(format!(
            "--inputs: there is no input `{}`{near} Those that there are: {}, and header:NAME, config_header:KEY, \
             field:POINTER, query:NAME",
            printable(name),
            names.join(", ")
        ))
    })
}

fn shown(file: &Path, manifest: Option<&Manifest>) -> String {
    let file = shown_path(file);
    let Some(manifest) = manifest else {
        return format!(
            "{file}: no manifest: it gets rows, and is asked by many threads at a time; --inputs attaches one\n"
        );
    };
    let inputs: Vec<_> = manifest.inputs.iter().map(Input::name).collect();
    let or = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
    let lines = [
        ("name", or(&manifest.name)),
        ("version", or(&manifest.version)),
        ("description", or(&manifest.description)),
        ("wire", if manifest.wire == Wire::Columns { "columns" } else { "rows" }.to_owned()),
        ("inputs", or(&inputs.join(", "))),
        (
            "concurrency",
            if manifest.concurrency == Concurrency::Serial { "serial" } else { "parallel" }.to_owned(),
        ),
    ];
    let lines = lines.iter().map(|(key, value)| format!("  {key:<11} {value}\n"));
    format!("{file}: abi {}\n{}", manifest.abi, lines.collect::<String>())
}
