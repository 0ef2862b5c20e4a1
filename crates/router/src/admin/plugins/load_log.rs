//! The log line of a load: who, what, and how it ended.

use crate::admin::who::Who;
use crate::manage::digest::sha256;
use crate::manage::{ManageError, Module, Settings};
use sgl_api::{Problem, Pushed};
use sgl_oci::ModuleReference;
use sglang_router_rs::types::shown;

/// A load that has begun.
#[derive(Debug)]
pub(crate) struct LoadLog {
    who: Who,
    plugin: String,
    /// The digest of a module that was sent, or else its origin.
    module: String,
    strategy: String,
    /// Names of the settings that were sent; unlike the values, no name may be a secret.
    settings: Option<String>,
}

impl LoadLog {
    /// The log of a module's load, and the module again: a thread that may block makes its digest.
    pub(crate) async fn of_module(
        who: Who,
        plugin: &str,
        module: Module,
        settings: &Settings,
    ) -> (Self, Module) {
        let kept = Self::new(who, plugin, String::new(), settings);
        match module {
            Module::File(file) => {
                let kind = if ModuleReference::is_one(&file) { "registry" } else { "file" };
                (Self { module: format!("{kind} {}", shown(&file)), ..kept }, Module::File(file))
            }
            Module::Bytes { wasm, signature } => {
                let digest = move || (format!("sha256 {}", sha256(&wasm)), wasm);
                match tokio::task::spawn_blocking(digest).await {
                    Ok((module, wasm)) => (Self { module, ..kept }, Module::Bytes { wasm, signature }),
                    // Only if the runtime ends; the load then finds an empty module.
                    Err(_) => (kept, Module::Bytes { wasm: Vec::new(), signature }),
                }
            }
        }
    }

    /// The load of other settings for the module that serves.
    pub(crate) fn of_settings(who: Who, plugin: &str, settings: &Settings) -> Self {
        Self::new(who, plugin, "the module that serves".to_owned(), settings)
    }

    fn new(who: Who, plugin: &str, module: String, settings: &Settings) -> Self {
        let strategy = settings.rollout_mode().unwrap_or("immediate").to_owned();
        let names = settings.names();
        let settings = (!names.is_empty()).then(|| shown(&names.join(", ")));
        Self { who, plugin: shown(plugin), module, strategy: shown(&strategy), settings }
    }

    /// Writes the outcome.
    pub(crate) async fn write(&self, outcome: &Result<Pushed, ManageError>) {
        let Self { who, plugin, module, strategy, settings } = self;
        let settings = settings.as_deref();
        match outcome {
            Ok(pushed) => tracing::info!(
                %who, plugin, generation = pushed.generation, digest = pushed.digest, strategy = pushed.rollout.as_str(),
                displaced = pushed.displaced, settings,
                "a plugin was loaded over HTTP"
            ),
            Err(error) => {
                let Problem { code, detail, .. } = Problem::from(error);
                tracing::warn!(
                    %who, plugin, module, strategy, settings, code, reason = shown(&detail),
                    "a plugin was refused; what served goes on"
                );
            }
        }
        let refused = outcome.as_ref().err().map(|error| shown(&Problem::from(error).detail));
        who.audit(settings, refused).await;
    }
}
