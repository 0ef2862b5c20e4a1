//! The plugin directory, watched: a changed module or its settings become a new generation.
//!
//! Writers are not asked to do anything special. After the last change the directory must be
//! quiet for a while, and a file must have the same digest twice, with a pause in between: a slow
//! write in place and a rename both give one generation. A write that pauses for longer is seen
//! half done; such a module does not pass its checks, is reported, and the rest of the write
//! starts over. The detached signature beside a module counts as part of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::AccessKind;
use notify::event::AccessMode;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::faults::Faults;
use crate::config::files;
use crate::manage::digest::sha256;
use crate::manage::manager::PluginManager;
use crate::policies::ModuleBytes;
use crate::policies::wasm::loader;
use crate::policies::wasm::trust::origin::signature_file;

/// How long the directory must be quiet, and the pause between the two looks at a file.
const QUIET: Duration = Duration::from_millis(200);

/// Looks that are put off by further changes before the files are looked at all the same.
const MOST_PUT_OFFS: u32 = 50;

/// What a plugin's files are, by their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    module: String,
    settings: Option<String>,
    signature: Option<String>,
}

/// A watched plugin directory.
pub struct DirWatch {
    dir: PathBuf,
    manager: Arc<PluginManager>,
    changed: Arc<Notify>,
    /// What was last acted upon, with the plugin's name.
    known: BTreeMap<PathBuf, (Print, String)>,
    _watcher: RecommendedWatcher,
}

impl std::fmt::Debug for DirWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirWatch").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl DirWatch {
    /// Watches from now on; nothing is done before [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// What the system says if the directory cannot be watched.
    pub fn new(dir: &Path, manager: Arc<PluginManager>) -> Result<Self, notify::Error> {
        let changed = Arc::new(Notify::new());
        let nudge = Arc::clone(&changed);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // After an error, events may be missing.
            if event.map_or(true, |event| is_change(event.kind)) {
                nudge.notify_one();
            }
        })?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(Self { dir: dir.to_owned(), manager, changed, known: BTreeMap::new(), _watcher: watcher })
    }

    /// Acts upon changes until it is stopped. Files that changed since they were loaded count.
    ///
    /// # Cancel safety
    ///
    /// Not to be dropped: a load may be on its way. Stop it.
    pub async fn run(mut self, stop: CancellationToken) {
        self.changed.notify_one();
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = stop.cancelled() => return,
            }
            if !self.quiet(&stop).await {
                return;
            }
            self.look().await;
        }
    }

    /// Waits until nothing changes any more; false if it is stopped.
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

    async fn look(&mut self) {
        let modules = match files::modules_in(&self.dir) {
            Ok(modules) => modules,
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "the plugin directory cannot be read");
                return;
            }
        };
        self.forget_gone(&modules);
        let first: Vec<_> = modules.into_iter().map(|path| (print(&path), path)).collect();
        let is_new = |(print, path): &(Option<Print>, PathBuf)| match print {
            Some(print) => self.known.get(path).is_none_or(|(known, _)| known != print),
            None => true,
        };
        let changed: Vec<_> = first.into_iter().filter(is_new).collect();
        if changed.is_empty() {
            return;
        }
        tokio::time::sleep(QUIET).await;
        for (first, path) in changed {
            match (first, print(&path)) {
                (Some(first), Some(second)) if first == second => self.act(path, second).await,
                // Still being written: once more.
                _ => self.changed.notify_one(),
            }
        }
    }

    fn forget_gone(&mut self, modules: &[PathBuf]) {
        self.known.retain(|path, (_, plugin)| {
            let stays = modules.contains(path);
            if !stays {
                let file = path.display();
                tracing::warn!(plugin, %file, "the file of a plugin is gone; the plugin goes on");
            }
            stays
        });
    }

    async fn act(&mut self, path: PathBuf, print: Print) {
        let mut faults = Vec::new();
        let entry = files::plugin_of(&path, &mut faults);
        let name = entry.name.clone();
        let file = path.display().to_string();
        let owner = self.known.iter().find(|(other, (_, known))| **other != path && *known == name);
        let taken = owner.map(|(other, _)| other.display().to_string());
        // Whatever comes of it: it is tried and reported once for each change.
        self.known.insert(path.clone(), (print.clone(), name.clone()));
        if !faults.is_empty() {
            tracing::error!(plugin = name, file, error = %Faults(faults), "not loaded; what served goes on");
            return;
        }
        if let Some(other) = taken {
            tracing::error!(plugin = name, file, other, "not loaded: another file has this plugin's name");
            return;
        }
        let module = match loader::read_module(&path) {
            Ok(module) if is_of(&module, &print) => module,
            // Changed again: its event has come or will come.
            Ok(_) => {
                self.known.remove(&path);
                self.changed.notify_one();
                return;
            }
            Err(error) => {
                tracing::error!(plugin = name, file, %error, "not loaded; what served goes on");
                return;
            }
        };
        match self.manager.push_entry(entry, module).await {
            Ok(Some(pushed)) => {
                tracing::info!(
                    plugin = name,
                    file,
                    generation = pushed.generation,
                    "loaded the changed file"
                );
            }
            Ok(None) => {}
            Err(error) => tracing::error!(plugin = name, file, %error, "not loaded; what served goes on"),
        }
    }
}

/// Reading is no change, or looking would lead to looking.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// The digests of a plugin's files; `None` if its module cannot be read right now.
fn print(module: &Path) -> Option<Print> {
    let bytes = std::fs::read(module).ok()?;
    let settings = std::fs::read(module.with_extension("toml")).ok();
    let signature = std::fs::read(signature_file(module)).ok();
    let [settings, signature] = [settings, signature].map(|bytes| bytes.map(|bytes| sha256(&bytes)));
    Some(Print { module: sha256(&bytes), settings, signature })
}

/// True if the module is still what it was when it was looked at.
fn is_of(module: &ModuleBytes, print: &Print) -> bool {
    sha256(&module.wasm) == print.module && module.signature.as_deref().map(sha256) == print.signature
}
