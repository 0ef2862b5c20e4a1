//! `keygen` and `sign`: for those who make modules, without a router.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::plugin::args::{KeygenArgs, SignArgs};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::manage::durable_file;
use crate::manage::durable_file::Readers;
use sglang_router_rs::policies::trust;
use sglang_router_rs::policies::trust::{SecretKey, signing};
use sglang_router_rs::types::shown_path;

/// Makes a pair of keys. The private one can be read by its user only; nothing is overwritten.
///
/// # Errors
///
/// [`CommandError::Usage`] if a file exists or cannot be written.
pub(crate) fn keygen(args: &KeygenArgs, json: bool) -> Result<(), CommandError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| CommandError::Usage(format!("no randomness: {error}")))?;
    let key = SecretKey::from_seed(&seed, &args.comment);
    seed.fill(0);
    let [private, public] = ["key", "pub"].map(|extension| with(&args.name, extension));
    let texts = key.to_pem().and_then(|private| Ok((private, key.public().to_pem()?)));
    let (private_text, public_text) = texts.map_err(CommandError::Usage)?;
    let mut public_file = create_new(&public, 0o644)?;
    let written = create_new(&private, 0o600).and_then(|mut file| {
        write(&mut file, &private, &private_text)?;
        write(&mut public_file, &public, &public_text)
    });
    if written.is_err() {
        // Half a pair is useless; the other file existed already, or could not be made.
        let _ = std::fs::remove_file(&public);
    }
    written?;
    let made = json!({
        "key": key.public().id(), "comment": key.public().comment(),
        "private": private, "public": public,
    });
    let (private, public) = (shown_path(&private), shown_path(&public));
    print(&made, json, |_| {
        format!("key {}\n{private}  signs; keep it secret\n{public}  checks\n", key.public())
    })
}

/// Signs a module. Other keys' signatures of the same bytes stay.
///
/// # Errors
///
/// [`CommandError::Usage`] for files that cannot be read or written, [`CommandError::Unsigned`] for a module
/// that cannot be signed.
pub(crate) fn sign(args: &SignArgs, json: bool) -> Result<(), CommandError> {
    let wasm = read(&args.file)?;
    let text = String::from_utf8(read(&args.key)?).map_err(|_| unusable(&args.key, "it is no PEM text"))?;
    let key = SecretKey::from_pem(&text).map_err(|reason| unusable(&args.key, &reason))?;
    let refused = |reason| CommandError::Unsigned { file: shown_path(&args.file), reason };
    let (out, bytes) = if args.embed {
        let out = args.out.clone().unwrap_or_else(|| args.file.clone());
        (out, signing::embed(&wasm, &key).map_err(refused)?)
    } else {
        let out = args.out.clone().unwrap_or_else(|| trust::signature_file(&args.file));
        let before = if out.exists() { Some(read(&out)?) } else { None };
        (out, signing::detach(&wasm, before.as_deref(), &key).map_err(refused)?)
    };
    durable_file::replace(&out, &bytes, Readers::Of(&args.file))
        .map_err(|error| unusable(&out, &error.to_string()))?;
    let done = json!({"key": key.public().id(), "file": args.file, "written": out, "embedded": args.embed});
    let (file, out) = (shown_path(&args.file), shown_path(&out));
    print(&done, json, |_| format!("{file}: signed by key {} in {out}\n", key.public()))
}

/// The detached signature of a module's file: the named one, or else the one beside it if it exists.
///
/// # Errors
///
/// [`CommandError::Usage`] if it cannot be read.
pub(crate) fn detached(module: &Path, named: Option<&Path>) -> Result<Option<Vec<u8>>, CommandError> {
    match named {
        Some(file) => read(file).map(Some),
        None => {
            let file = trust::signature_file(module);
            trust::read_signature(module).map_err(|error| unusable(&file, &error.to_string()))
        }
    }
}

/// The bytes of a file.
///
/// # Errors
///
/// [`CommandError::Usage`] names it.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    std::fs::read(file).map_err(|error| unusable(file, &error.to_string()))
}

fn create_new(path: &Path, mode: u32) -> Result<File, CommandError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => unusable(path, "it is there already; keys are never overwritten"),
        _ => unusable(path, &error.to_string()),
    })
}

fn write(file: &mut File, path: &Path, text: &str) -> Result<(), CommandError> {
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| unusable(path, &error.to_string()))
}

/// The path with `.extension` behind it, whatever it ends with.
fn with(name: &Path, extension: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(format!(".{extension}"));
    path.into()
}

fn unusable(file: &Path, reason: &str) -> CommandError {
    CommandError::Usage(format!("{}: {reason}", shown_path(file)))
}
