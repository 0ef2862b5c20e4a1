//! What changes of the configuration's plugins would come to, without them.

use crate::config::plugin_entry::PluginEntry;
use crate::manage::error::ManageError;
use crate::manage::loaded_files::FileContent;
use crate::manage::manager::PluginManager;
use sglang_router_rs::policies::ModuleBytes;

impl PluginManager {
    /// True if [`push_entry`](Self::push_entry) would make a generation of it, if it can be loaded.
    pub(crate) fn would_push(&self, entry: &PluginEntry, module: &ModuleBytes) -> bool {
        let (config, options) = entry.clone().into_parts();
        let content = FileContent::new(config, options, module);
        let serving = self.serving(&entry.name);
        let serves_it = serving.as_ref().is_some_and(|info| content.is(info));
        !serves_it && !self.files().would_have(&content, serving.is_some())
    }

    /// What [`unload_own`](Self::unload_own) would answer.
    ///
    /// # Errors
    ///
    /// As [`unload_own`](Self::unload_own).
    pub(crate) fn would_unload_own(&self, name: &str) -> Result<bool, ManageError> {
        if self.serving(name).is_some_and(|info| !self.files().gave(name, info.generation)) {
            return Ok(false);
        }
        self.detail(name)?;
        if self.is_in_use(name) {
            return Err(ManageError::InUse { name: name.to_owned() });
        }
        Ok(true)
    }
}
