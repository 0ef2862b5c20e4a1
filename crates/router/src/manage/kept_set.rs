//! Which plugins are kept over a restart, and the order in which files are written and removed.
//!
//! A plugin is kept if it was pushed and serves. A module is written before a list that names it, and
//! removed after the last list that does. One lock covers reading what serves and writing the list, so
//! an old list never overwrites a new one. Loads under way are counted, so a load that is refused takes
//! nothing from another load of the same module.

use std::collections::{BTreeMap, BTreeSet};

use crate::manage::kept_plugin::{BadFile, KeptPlugin};
use sglang_router_rs::policies::PolicyFactory;

/// The place of the files. If the process is killed, each call is done or not, never half.
pub(crate) trait Disk {
    /// Writes a module, over one of the same name.
    fn write_module(&self, digest: &str, wasm: &[u8]) -> Result<(), BadFile>;
    /// True if there is a module.
    fn has_module(&self, digest: &str) -> bool;
    /// Digests of modules that nobody asked to keep.
    fn removable(&self) -> Vec<String>;
    /// Removes a module; if that fails, it stays until the next time.
    fn remove_module(&self, digest: &str);
    /// Writes the list.
    fn write_list(&self, plugins: &BTreeMap<String, KeptPlugin>) -> Result<(), BadFile>;
}

/// What the router does right now.
#[derive(Clone, Debug, Default)]
pub struct PluginSnapshot {
    /// What serves, as it would be kept.
    pub serving: Vec<KeptPlugin>,
    /// Digests of all modules of generations that live: a canary may be promoted, a previous
    /// generation may come back.
    pub alive: BTreeSet<String>,
}

impl PluginSnapshot {
    /// What the plugins of a factory are now.
    pub(crate) fn of(factory: &PolicyFactory) -> Self {
        let serving = factory.plugin_infos().into_iter().map(KeptPlugin::of).collect();
        let names = factory.list_wasm_plugins();
        let details = names.iter().filter_map(|name| factory.plugin_detail(name));
        let generations = details.flat_map(|detail| detail.generations);
        Self { serving, alive: generations.map(|generation| generation.digest).collect() }
    }
}

/// What happened since the last record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that an operator asked for.
    ByItself,
    /// A load whose module was kept for it is over.
    Arrived {
        /// The plugin.
        name: String,
        /// The module.
        digest: String,
        /// True if it serves, or will when its rollout says so.
        loaded: bool,
    },
    /// A plugin was changed, but no module came.
    Touched {
        /// The plugin.
        name: String,
    },
    /// A plugin was unloaded.
    Unloaded {
        /// The plugin.
        name: String,
    },
}

/// A module under a name.
type NameAndDigest = (String, String);

/// The kept plugins: what the list on the disk says, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptSet {
    listed: BTreeMap<String, KeptPlugin>,
    /// Names whose entries stay as they are until an operator changes the plugin.
    untouched: BTreeSet<String>,
    /// What was pushed, and not unloaded since.
    pushed: BTreeSet<NameAndDigest>,
    /// How many loads of it are under way.
    arriving: BTreeMap<NameAndDigest, usize>,
    /// Modules that are missing, as was reported.
    missing: BTreeSet<String>,
}

impl KeptSet {
    /// The plugins of a list that was read.
    pub(crate) fn new(list: Vec<KeptPlugin>) -> Self {
        let pushed = list.iter().map(|plugin| (plugin.config.name.clone(), plugin.digest.clone())).collect();
        let listed = list.into_iter().map(|plugin| (plugin.config.name.clone(), plugin)).collect();
        Self { listed, pushed, ..Self::default() }
    }

    /// What the list says.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &KeptPlugin> {
        self.listed.values()
    }

    /// Keeps the entries of these names, although something else serves under them.
    pub(crate) fn leave(&mut self, names: BTreeSet<String>) {
        self.pushed.retain(|(name, _)| !names.contains(name));
        self.untouched = names;
    }

    /// Keeps a module for a load under way, until its end is recorded.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be written.
    pub(crate) fn arrive(
        &mut self,
        disk: &impl Disk,
        name: &str,
        digest: &str,
        wasm: &[u8],
    ) -> Result<(), BadFile> {
        disk.write_module(digest, wasm)?;
        self.missing.remove(digest);
        *self.arriving.entry((name.to_owned(), digest.to_owned())).or_default() += 1;
        Ok(())
    }

    /// Makes the list say what serves, then removes the modules that nobody needs.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if the list cannot be written; the old one then is still whole.
    pub(crate) fn record(
        &mut self,
        disk: &impl Disk,
        change: Change,
        snapshot: PluginSnapshot,
    ) -> Result<(), BadFile> {
        self.settle(change);
        let is_untouched = |(name, _): &(&String, &KeptPlugin)| self.untouched.contains(*name);
        let cloned = |(name, plugin): (&String, &KeptPlugin)| (name.clone(), plugin.clone());
        let mut plugins: BTreeMap<_, _> = self.listed.iter().filter(is_untouched).map(cloned).collect();
        for plugin in snapshot.serving {
            let name = plugin.config.name.clone();
            if !self.untouched.contains(&name) && self.was_pushed(&name, &plugin.digest) {
                plugins.insert(name, plugin);
            }
        }
        if plugins != self.listed {
            disk.write_list(&plugins)?;
            self.listed = plugins;
        }
        self.report_missing(disk);
        self.sweep(disk, &snapshot.alive);
        Ok(())
    }

    fn settle(&mut self, change: Change) {
        match change {
            Change::ByItself => {}
            Change::Touched { name } => {
                self.untouched.remove(&name);
            }
            Change::Unloaded { name } => {
                self.untouched.remove(&name);
                self.pushed.retain(|(pushed, _)| *pushed != name);
            }
            Change::Arrived { name, digest, loaded } => {
                let arrived = (name, digest);
                if let Some(count) = self.arriving.get_mut(&arrived) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.arriving.remove(&arrived);
                    }
                }
                if loaded {
                    self.untouched.remove(&arrived.0);
                    self.pushed.insert(arrived);
                }
            }
        }
    }

    /// An arriving plugin may serve before the end of its load is recorded.
    fn was_pushed(&self, name: &str, digest: &str) -> bool {
        let it = (name.to_owned(), digest.to_owned());
        self.pushed.contains(&it) || self.arriving.contains_key(&it)
    }

    fn report_missing(&mut self, disk: &impl Disk) {
        for plugin in self.listed.values() {
            let (name, digest) = (&plugin.config.name, &plugin.digest);
            if !disk.has_module(digest) && self.missing.insert(digest.clone()) {
                tracing::error!(
                    plugin = name,
                    digest,
                    "its module is gone from the state directory: a restart will not come back with it; push it again"
                );
            }
        }
    }

    fn sweep(&mut self, disk: &impl Disk, alive: &BTreeSet<String>) {
        for digest in disk.removable() {
            let needed = alive.contains(&digest)
                || self.arriving.keys().any(|(_, arriving)| *arriving == digest)
                || self.listed.values().any(|plugin| plugin.digest == digest);
            if !needed {
                disk.remove_module(&digest);
                self.pushed.retain(|(_, pushed)| *pushed != digest);
            }
        }
    }
}
