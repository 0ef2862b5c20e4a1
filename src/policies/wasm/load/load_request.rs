//! What to load, and how.

use std::sync::Arc;

use crate::config::plugin::{PluginOptions, WasmPolicyConfig};
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::load::progress::{Progress, unwatched};
use crate::policies::wasm::load::source::Source;
use crate::policies::wasm::load::trust::origin::ModuleBytes;

/// A plugin that is to be loaded: its settings, where its module comes from, and who watches.
pub struct Load {
    pub(crate) config: WasmPolicyConfig,
    pub(crate) options: PluginOptions,
    pub(crate) source: Source,
    pub(crate) progress: Progress,
    /// What the seeds of its instances follow from; `None` = chance.
    pub(crate) seed: Option<u64>,
}

impl Load {
    /// The module is in the file that the configuration names.
    pub fn file(config: WasmPolicyConfig) -> Self {
        Self::new(config, Source::File)
    }

    /// The module is these bytes; `module_path` is only a label then.
    pub fn bytes(config: WasmPolicyConfig, wasm: Vec<u8>) -> Self {
        Self::new(config, Source::Module(wasm.into()))
    }

    /// The module is these bytes from a known origin, with a detached signature if there is one.
    pub fn module(config: WasmPolicyConfig, module: ModuleBytes) -> Self {
        Self::new(config, Source::Module(module))
    }

    /// The module is that of a generation which was compiled before.
    pub(crate) fn again(config: WasmPolicyConfig, generation: Arc<Generation>) -> Self {
        Self::new(config, Source::Reuse(generation))
    }

    fn new(config: WasmPolicyConfig, source: Source) -> Self {
        Self { config, options: PluginOptions::default(), source, progress: unwatched(), seed: None }
    }

    /// With options. Default: [`PluginOptions::default`].
    #[must_use]
    pub fn with(self, options: PluginOptions) -> Self {
        Self { options, ..self }
    }

    /// With instances whose random numbers follow from this one, for tests that are to come out alike each time.
    /// Default: chance.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// `progress` hears each step, on the thread that takes it. Default: nobody watches.
    #[must_use]
    pub fn watched_by(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("config", &self.config).finish_non_exhaustive()
    }
}
