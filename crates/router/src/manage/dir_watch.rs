//! The plugin directory, watched: a changed module or its settings become a new generation.
//!
//! Writers need to do nothing special. After the last change the directory must be quiet for a while,
//! and a file must have the same digest twice, with a pause in between: a slow write in place and a
//! rename both give one generation. A write with a longer pause is seen half done; such a module fails
//! its checks and is reported, and the rest of the write starts over. The detached signature beside a
//! module counts as part of it.
//!
//! All of this happens on a thread of its own: a slow or broken drive, a directory of many files or a
//! large module delays only this watch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::files;
use crate::config::files::PluginInDir;
use crate::manage::manager::PluginManager;
use crate::manage::plugin_files::{PluginFiles, Print, Stamps};
use sglang_router_rs::config::Faults;
use sglang_router_rs::policies::NativePolicy;
use sglang_router_rs::types::{in_full, shown, shown_path};

/// How long the directory must be quiet, and the pause between the two reads of a file.
const QUIET: Duration = Duration::from_millis(200);

/// How often further changes may delay a read of the files.
const MOST_PUT_OFFS: u32 = 50;

/// Most changed files that are acted on in one round: later changes need not wait for a directory full
/// of others.
const MOST_AT_ONCE: usize = 256;

/// The last state of a plugin's files that was acted on.
#[derive(Debug)]
struct SeenFiles {
    stamps: Stamps,
    /// True if the stamps would show any change.
    is_sure: bool,
    print: Print,
    plugin: String,
}

/// A plugin whose files differ from the state last acted on.
struct ChangedPlugin {
    path: PathBuf,
    print: Print,
}

/// A watched plugin directory.
pub(crate) struct DirWatch {
    dir: PathBuf,
    manager: Arc<PluginManager>,
    changed: Arc<Notify>,
    known: BTreeMap<PathBuf, SeenFiles>,
    /// Modules that were unusable when the router started, as the log says already.
    reported: BTreeSet<PathBuf>,
    /// Files changed later than this are no longer those.
    since: SystemTime,
    _watcher: RecommendedWatcher,
}

impl std::fmt::Debug for DirWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirWatch").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl DirWatch {
    /// Starts watching; nothing is done before [`run`](Self::run). Modules in `reported` are known to be
    /// unusable in their present state.
    ///
    /// # Errors
    ///
    /// What the system says if the directory cannot be watched.
    pub(crate) fn new(
        dir: &Path,
        manager: Arc<PluginManager>,
        reported: BTreeSet<PathBuf>,
    ) -> Result<Self, notify::Error> {
        let changed = Arc::new(Notify::new());
        let nudge = Arc::clone(&changed);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // After an error, events may be missing.
            if event.map_or(true, |event| is_change(event.kind)) {
                nudge.notify_one();
            }
        })?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        let (known, since) = (BTreeMap::new(), SystemTime::now());
        Ok(Self { dir: dir.to_owned(), manager, changed, known, reported, since, _watcher: watcher })
    }

    /// Acts on changes until it is stopped, also on files that changed since they were loaded.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it: a load may be under way. Stop it with `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let runtime = Handle::current();
        let (ended, end) = oneshot::channel::<()>();
        let watch = move || {
            runtime.block_on(self.watch(stop));
            drop(ended);
        };
        match std::thread::Builder::new().name("plugin-dir".to_owned()).spawn(watch) {
            // However the thread ends, it drops the sender.
            Ok(_) => drop(end.await),
            Err(error) => {
                tracing::error!(%error, "the plugin directory is not watched: there is no thread for it")
            }
        }
    }

    async fn watch(mut self, stop: CancellationToken) {
        self.changed.notify_one();
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = stop.cancelled() => return,
            }
            if !self.quiet(&stop).await {
                return;
            }
            self.look(&stop).await;
        }
    }

    /// Waits until nothing changes any more; false if it was stopped.
    async fn quiet(&self, stop: &CancellationToken) -> bool {
        for _ in 0..MOST_PUT_OFFS {
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(QUIET) => return true,
                () = stop.cancelled() => return false,
            }
        }
        true
    }

    async fn look(&mut self, stop: &CancellationToken) {
        let modules = match files::modules_in(&self.dir) {
            Ok(modules) => modules,
            Err(error) => {
                tracing::error!(dir = %shown_path(&self.dir), %error, "the plugin directory cannot be read");
                return;
            }
        };
        self.forget_gone(&modules);
        let changes = self.changes(modules);
        if changes.is_empty() {
            return;
        }
        tokio::time::sleep(QUIET).await;
        for ChangedPlugin { path, print } in changes {
            if stop.is_cancelled() {
                return;
            }
            let stamps = Stamps::of(&path);
            let files = PluginFiles::read(&path);
            // It is still being written: tries again later.
            if files.as_ref().map(PluginFiles::digests).map_err(Clone::clone) != print {
                self.changed.notify_one();
                continue;
            }
            let is_sure = stamps.are_proof(SystemTime::now());
            self.act(path, SeenFiles { stamps, is_sure, print, plugin: String::new() }, files).await;
        }
    }

    /// What differs from the state last acted on, the latest first. Reads only what may have changed.
    fn changes(&mut self, modules: Vec<PathBuf>) -> Vec<ChangedPlugin> {
        let now = SystemTime::now();
        let suspects = modules.into_iter().map(|path| (Stamps::of(&path), path));
        let mut suspects: Vec<_> = suspects
            .filter(|(stamps, path)| {
                self.known.get(path).is_none_or(|seen| !seen.is_sure || seen.stamps != *stamps)
            })
            .collect();
        suspects.sort_by_key(|(stamps, _)| Reverse(stamps.modified()));
        if suspects.len() > MOST_AT_ONCE {
            suspects.truncate(MOST_AT_ONCE);
            self.changed.notify_one();
        }
        let mut changes = Vec::new();
        for (stamps, path) in suspects {
            let print = PluginFiles::read(&path).map(|files| files.digests());
            match self.known.get_mut(&path) {
                Some(seen) if seen.print == print => {
                    seen.is_sure = stamps.are_proof(now);
                    seen.stamps = stamps;
                }
                _ => changes.push(ChangedPlugin { path, print }),
            }
        }
        changes
    }

    fn forget_gone(&mut self, modules: &[PathBuf]) {
        self.known.retain(|path, seen| {
            // They are sorted.
            let stays = modules.binary_search(path).is_ok();
            if !stays {
                let (plugin, file) = (&seen.plugin, shown_path(path));
                tracing::warn!(plugin, file, "the file of a plugin is gone; the plugin goes on");
                self.manager.files().gone(plugin, &path.to_string_lossy());
            }
            stays
        });
    }

    async fn act(&mut self, path: PathBuf, mut seen: SeenFiles, files: Result<PluginFiles, String>) {
        let file = shown_path(&path);
        let settings = files.as_ref().ok().and_then(|files| files.settings.as_deref());
        let PluginInDir { entry, faults } = files::plugin_with(&path, settings, &NativePolicy::NAMES);
        let name = entry.name.clone();
        let taken = self.other_owner(&name, &path);
        let has_changed = seen.stamps.modified().is_some_and(|modified| modified > self.since);
        let is_news = !self.reported.remove(&path) || has_changed;
        // Noted before the outcome is known: each change is tried and reported once.
        seen.plugin.clone_from(&name);
        let before = self.known.insert(path, seen);
        if let Some(before) = before.filter(|before| before.plugin != name) {
            self.manager.files().gone(&before.plugin, &entry.module_path);
        }
        let module = match files {
            Ok(files) => files.module,
            Err(error) => {
                self.refused(&name, &file, &error, is_news);
                return;
            }
        };
        if !faults.is_empty() {
            self.refused(&name, &file, &Faults(faults).in_one_line(), is_news);
            return;
        }
        if let Some(other) = taken {
            self.refused(&name, &file, &format!("another file has this plugin's name: {other}"), is_news);
            return;
        }
        match self.manager.push_entry(entry, module).await {
            Ok(Some(pushed)) => {
                let generation = pushed.generation;
                tracing::info!(plugin = name, file, generation, "loaded the changed file");
            }
            Ok(None) => {}
            Err(error) => {
                self.refused(&name, &file, &in_full(&error), is_news);
            }
        }
    }

    /// The other file that has this plugin's name, if one does: what was loaded first goes on.
    fn other_owner(&self, name: &str, path: &Path) -> Option<String> {
        if let Some(owner) = self.manager.files().path_of(name) {
            return Some(PathBuf::from(owner)).filter(|owner| owner != path).map(|owner| shown_path(&owner));
        }
        let owner = self.known.iter().find(|(other, seen)| *other != path && seen.plugin == name);
        owner.map(|(other, _)| shown_path(other))
    }

    /// Reports that a file was not loaded, unless the log said so when the router started.
    fn refused(&self, name: &str, file: &str, error: &str, is_news: bool) {
        let plugin = shown(name);
        if !is_news {
            tracing::debug!(plugin, file, error, "not loaded, as at the start");
        } else if self.manager.detail(name).is_ok() {
            tracing::error!(plugin, file, error, "not loaded; what served goes on");
        } else {
            tracing::error!(plugin, file, error, "not loaded; nothing serves under this name");
        }
    }
}

/// Reading is not a change; otherwise each read would cause another.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
