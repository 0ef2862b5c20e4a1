//! What was loaded from the files of the configuration last, by the names of the plugins.
//!
//! The start, a reload and the watched directory share it: whoever of them comes to a file loads it only
//! if it has changed since, and what was pushed meanwhile stays.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::manage::digest::sha256;
use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};
use sglang_router_rs::policies::{ModuleBytes, PluginInfo};

/// What a plugin's files say: its module and its signature, and the settings of its entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileContent {
    pub(crate) config: WasmPolicyConfig,
    pub(crate) options: PluginOptions,
    digest: String,
    signature: Option<Vec<u8>>,
}

impl FileContent {
    pub(crate) fn new(config: WasmPolicyConfig, options: PluginOptions, module: &ModuleBytes) -> Self {
        Self { config, options, digest: sha256(&module.wasm), signature: module.signature.clone() }
    }

    /// What a plugin that serves was loaded from.
    fn of(info: &PluginInfo) -> Self {
        Self {
            config: info.config.clone(),
            options: info.options.clone(),
            digest: info.digest.clone(),
            signature: info.detached_signature.clone(),
        }
    }

    /// True if a plugin serves exactly this.
    pub(crate) fn is(&self, info: &PluginInfo) -> bool {
        self.has_module_of(info) && info.config == self.config && info.options == self.options
    }

    /// True if a plugin serves this module, with whatever settings.
    pub(crate) fn has_module_of(&self, info: &PluginInfo) -> bool {
        info.digest == self.digest && info.detached_signature == self.signature
    }
}

/// What was loaded from a file last.
#[derive(Debug)]
struct LoadedFile {
    module_path: String,
    /// The number of what came of it.
    generation: u64,
    /// What was in it.
    content: FileContent,
    /// True since the file is gone or gives another name.
    is_gone: bool,
}

/// What was loaded from the files of the configuration last.
#[derive(Debug, Default)]
pub(crate) struct LoadedFiles(Mutex<BTreeMap<String, LoadedFile>>);

impl LoadedFiles {
    /// Notes that a plugin was loaded from a file.
    pub(crate) fn add(&self, content: FileContent, generation: u64) {
        let (name, module_path) = (content.config.name.clone(), content.config.module_path.clone());
        self.0.lock().insert(name, LoadedFile { module_path, generation, content, is_gone: false });
    }

    /// Notes what serves, which nobody but the configuration can have loaded yet.
    pub(crate) fn add_serving(&self, info: &PluginInfo) {
        self.add(FileContent::of(info), info.generation);
    }

    /// True if this was loaded last under its name. A file that comes back as it was has not changed
    /// either, if anything serves in its place.
    pub(crate) fn has(&self, content: &FileContent, serves: bool) -> bool {
        let mut files = self.0.lock();
        let same = files.get_mut(&content.config.name).filter(|file| file.content == *content);
        same.is_some_and(|file| !std::mem::take(&mut file.is_gone) || serves)
    }

    /// As [`has`](Self::has), and notes nothing.
    pub(crate) fn would_have(&self, content: &FileContent, serves: bool) -> bool {
        let files = self.0.lock();
        let same = files.get(&content.config.name).filter(|file| file.content == *content);
        same.is_some_and(|file| !file.is_gone || serves)
    }

    /// The file that gives a name, if one does.
    pub(crate) fn path_of(&self, name: &str) -> Option<String> {
        let files = self.0.lock();
        files.get(name).filter(|file| !file.is_gone).map(|file| file.module_path.clone())
    }

    /// True if a file gave this name that is gone, or gives another one now.
    pub(crate) fn is_gone(&self, name: &str) -> bool {
        self.0.lock().get(name).is_some_and(|file| file.is_gone)
    }

    /// True if this generation came of the file and not of somebody's change after that: numbers of
    /// generations grow.
    pub(crate) fn gave(&self, name: &str, generation: u64) -> bool {
        self.0.lock().get(name).is_some_and(|file| generation <= file.generation)
    }

    /// Warns if a changed file takes the place of what an operator has put there since it was loaded last:
    /// numbers of generations grow.
    pub(crate) fn tell_of_displaced(&self, served: Option<&PluginInfo>, now: &PluginInfo) {
        let from_file = self.0.lock().get(&now.name).map_or(0, |file| file.generation);
        let before = served.map(|info| info.generation).into_iter().chain(now.displaced);
        for pushed in before.filter(|generation| *generation > from_file) {
            let (plugin, generation, strategy) = (&now.name, now.generation, now.options.rollout.mode());
            tracing::warn!(
                plugin,
                pushed,
                generation,
                %strategy,
                "the changed file displaces what was pushed"
            );
        }
    }

    /// All names that files gave and that were not taken back, with their files.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let files = self.0.lock();
        files.iter().map(|(name, file)| (name.clone(), file.module_path.clone())).collect()
    }

    /// Notes that a file is gone, or does not give this name any more; the plugin goes on.
    pub(crate) fn gone(&self, name: &str, module_path: &str) {
        let mut files = self.0.lock();
        if let Some(file) = files.get_mut(name).filter(|file| file.module_path == module_path) {
            file.is_gone = true;
        }
    }

    /// Notes that a name is not the configuration's any more.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().remove(name);
    }
}
