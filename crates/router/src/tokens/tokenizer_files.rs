//! The files of one tokenizer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::TokenizerEntry;
use crate::manage::digest::sha256;
use sglang_router_rs::types::{file, shown_path};

/// Largest `tokenizer.json` that is read; the largest of today have 35 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;

/// Largest `tokenizer_config.json` that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Largest chat template that is read.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

/// What the files of a tokenizer say, as far as it can be read.
#[derive(Debug)]
pub(crate) struct TokenizerFiles {
    /// The content of `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// The content of `tokenizer_config.json`; an empty object if there is none.
    pub config: Value,
    /// The chat template, if there is one.
    pub template: Option<String>,
}

impl TokenizerFiles {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The key of the entry that is at fault, and what is wrong.
    pub(crate) fn read(entry: &TokenizerEntry) -> Result<Self, (&'static str, String)> {
        let path = file_of(&entry.path);
        let beside = |name: &str| path.with_file_name(name);
        let tokenizer =
            file::read(&path, MAX_TOKENIZER_BYTES).map_err(|error| unreadable("path", &path, &error))?;
        let config_path = beside("tokenizer_config.json");
        let config = file::read_if_there(&config_path, MAX_CONFIG_BYTES)
            .map_err(|error| unreadable("path", &config_path, &error))?;
        let config = config.map_or_else(
            || Ok(Value::Object(serde_json::Map::new())),
            |text| {
                serde_json::from_slice(&text).map_err(|error| {
                    ("path", format!("{} cannot be used: {error}", shown_path(&config_path)))
                })
            },
        )?;
        let template = match &entry.chat_template {
            Some(path) => {
                let text = file::read_text(path, MAX_TEMPLATE_BYTES);
                Some(text.map_err(|error| unreadable("chat_template", path, &error))?)
            }
            None => {
                let path = beside("chat_template.jinja");
                let text = file::read_if_there(&path, MAX_TEMPLATE_BYTES)
                    .and_then(|text| text.map(String::from_utf8).transpose().map_err(std::io::Error::other));
                text.map_err(|error| unreadable("path", &path, &error))?.or_else(|| template_in(&config))
            }
        };
        Ok(Self { tokenizer, config, template })
    }

    /// A digest of all that they say.
    pub(crate) fn digest(&self) -> String {
        let parts = [
            sha256(&self.tokenizer),
            sha256(self.config.to_string().as_bytes()),
            self.template.as_deref().map(|text| sha256(text.as_bytes())).unwrap_or_default(),
        ];
        parts.join(" ")
    }

    /// The text of a special token, such as `bos_token`.
    pub(crate) fn special_token(&self, name: &str) -> Option<&str> {
        let token = self.config.get(name)?;
        token.as_str().or_else(|| token.get("content")?.as_str())
    }
}

fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() }
}

/// The template of a configuration: a text, or the one of several that is named `default`.
fn template_in(config: &Value) -> Option<String> {
    let template = config.get("chat_template")?;
    let named = |template: &Value| template.get("name").and_then(Value::as_str) == Some("default");
    let text = match template {
        Value::Array(several) => several.iter().find(|one| named(one))?.get("template")?,
        one => one,
    };
    text.as_str().map(str::to_owned)
}

fn unreadable(key: &'static str, path: &Path, error: &std::io::Error) -> (&'static str, String) {
    (key, format!("{} cannot be read: {error}", shown_path(path)))
}
