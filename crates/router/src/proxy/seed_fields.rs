//! The fields of a body that decide beside the prompt whether an engine can use what it has of it.

use std::borrow::Cow;

use crate::proxy::body_values::MAX_VALUE_BYTES;
use crate::proxy::json::{Broken, Json};
use crate::proxy::prompt::Prompt;
use crate::proxy::route::Route;
use sglang_router_rs::types::{PrefixSeed, hash_of};

/// What decides beside the prompt whether an engine can use what it has of it.
#[derive(Debug, Default)]
pub(crate) struct SeedFields<'a> {
    adapter: Option<Cow<'a, str>>,
    salt: Option<Cow<'a, str>>,
    /// SGLang's, beside the salt.
    extra: Option<Cow<'a, str>>,
    /// A digest of the tools; 0 = none.
    tools: u64,
}

impl<'a> SeedFields<'a> {
    /// Reads the value of one of the fields.
    pub(crate) fn read(&mut self, key: &str, route: Route, json: &mut Json<'a>) -> Result<(), Broken> {
        if key == "tools" {
            let tools = json.raw()?;
            self.tools = if tools == b"null" || !(route == Route::Chat || route.is_dialogue()) {
                0
            } else {
                hash_of(tools)
            };
            return Ok(());
        }
        let value = match json.peek() {
            Some(b'"') => Some(json.string()?.text(MAX_VALUE_BYTES).0),
            // A list of a batch, or what an engine will refuse.
            _ => Some(json.raw()?).filter(|raw| *raw != b"null").map(String::from_utf8_lossy),
        };
        match key {
            "lora_path" => self.adapter = value,
            "cache_salt" => self.salt = value,
            _ => self.extra = value,
        }
        Ok(())
    }

    /// The hashes of a prompt's blocks.
    pub(crate) fn hashes(&self, prompt: &mut Prompt<'_>, model: Option<&str>) -> Option<Vec<u64>> {
        self.seed(model, self.tools, |seed| prompt.take_hashes(seed))
    }

    /// Hands out the seed of a prompt's hashes.
    pub(crate) fn seed<T>(
        &self,
        model: Option<&str>,
        preamble: u64,
        seeded: impl FnOnce(&PrefixSeed<'_>) -> T,
    ) -> T {
        let salt = self.salt.as_deref().unwrap_or_default();
        let salt = self.extra.as_ref().map_or(Cow::Borrowed(salt), |extra| format!("{salt}\0{extra}").into());
        seeded(&PrefixSeed {
            model: model.unwrap_or_default(),
            adapter: self.adapter.as_deref().unwrap_or_default(),
            salt: &salt,
            preamble,
        })
    }

    /// The same without the body.
    pub(crate) fn into_owned(self) -> SeedFields<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        let Self { adapter, salt, extra, tools } = self;
        SeedFields { adapter: owned(adapter), salt: owned(salt), extra: owned(extra), tools }
    }
}
