//! What `sgl-router key` does.

use std::io::{Read, Write};

use anyhow::{Context, ensure};

use crate::cli::key::args::{KeyArgs, KeyCommand, KeyOf};
use crate::manage::digest::sha256;
use sglang_router_rs::types::hex;

/// Bytes by chance in a key.
const KEY_BYTES: usize = 24;

/// What keys begin with, so that scanners of repositories find them.
const PREFIX: &str = "sk-sgl-";

/// Longest key that is read.
const MAX_KEY_BYTES: u64 = 4096;

/// Runs the command.
///
/// # Errors
///
/// There is no key on standard input, or nothing can be written.
pub fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let (of, key, is_new) = match &args.command {
        KeyCommand::New(of) => (of, new_key()?, true),
        KeyCommand::Hash(of) => (of, read_key()?, false),
    };
    let name = &of.name;
    let is_name = !name.is_empty() && name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(is_name, "--name: found {name:?}; allowed: 1 to 128 visible ASCII characters, no blanks");
    if is_new && !of.json {
        // Beside what goes into the file.
        let told =
            writeln!(std::io::stderr(), "the key of {name}, which is shown once and kept nowhere: {key}");
        told.context("standard error cannot be written to")?;
    }
    let text = told(of, &key, is_new);
    std::io::stdout().write_all(text.as_bytes()).context("standard output cannot be written to")
}

fn told(KeyOf { name, json }: &KeyOf, key: &str, is_new: bool) -> String {
    let digest = sha256(key.as_bytes());
    if *json {
        let mut told = serde_json::json!({ "name": name, "sha256": digest });
        if let Some(told) = told.as_object_mut().filter(|_| is_new) {
            told.insert("key".to_owned(), key.into());
        }
        return format!("{told}\n");
    }
    format!("[[keys]]\nname = {name:?}\nsha256 = \"{digest}\"\n")
}

fn new_key() -> anyhow::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(format!("{PREFIX}{}", hex::encode(&bytes)))
}

fn read_key() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(MAX_KEY_BYTES).read_to_string(&mut text).context("standard input holds no text")?;
    let key = text.trim();
    ensure!(!key.is_empty(), "standard input holds no key");
    Ok(key.to_owned())
}
