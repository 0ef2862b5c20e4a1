//! SIGHUP: the configuration is read again, and workers, plugins, certificates and rules about signatures follow it.
//! Everything else needs a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::configuration::configuration;
use crate::cli::flags::ServeArgs;
use crate::config::checked::{CheckedConfig, FaultyPlugin};
use crate::config::fixed::{ChangedKey, FixedKeys};
use crate::config::plugin_entry::PluginEntry;
use crate::config::worker_entry::WorkerEntry;
use crate::manage::digest::sha256;
use crate::manage::{ManageError, PluginManager};
use crate::proxy::AddError;
use crate::proxy::Backends;
use crate::proxy::client_keys;
use crate::proxy::client_keys::KeyRing;
use crate::proxy::succession::Succession;
use crate::tls::CertificateWatch;
use crate::tokens::{TokenizerSet, Tokenizing};
use sgl_upstream::WorkerUrl;
use sglang_router_rs::config::{Faults, TrustRule};
use sglang_router_rs::policies::{OperationError, TrustPolicy};
use sglang_router_rs::types::shown;

/// The part of a configuration that can change while the router runs.
#[derive(Debug)]
struct Applied {
    /// What the router was started with; a reload does not follow it.
    fixed: FixedKeys,
    /// Only a digest, so that nothing printed reveals the token.
    admin_token: Option<String>,
    workers: BTreeMap<String, WorkerEntry>,
    /// Whether their files have changed is the manager's business.
    plugins: BTreeMap<String, PluginEntry>,
    /// What is in the plugin directory but cannot be used.
    faulty: Vec<FaultyPlugin>,
    trust: Vec<TrustRule>,
}

impl Applied {
    fn of(config: &CheckedConfig) -> Self {
        let normal = |entry: &WorkerEntry| {
            let url = WorkerUrl::parse(&entry.url).map_or_else(|_| entry.url.clone(), |url| url.to_string());
            (url, entry.clone())
        };
        let plugin = |entry: &PluginEntry| (entry.name.clone(), entry.clone());
        Self {
            fixed: config.fixed.clone(),
            admin_token: config.admin_token.as_deref().map(|token| sha256(token.as_bytes())),
            workers: config.workers.iter().map(normal).collect(),
            plugins: config.plugins.iter().map(plugin).collect(),
            faulty: config.faulty_plugins.clone(),
            trust: config.trust.clone(),
        }
    }
}

/// Applies configurations to a running router.
#[derive(Debug)]
pub(crate) struct Reloader {
    args: ServeArgs,
    applied: Applied,
    /// Workers, as they were configured, that are configured no more and serve until others can.
    leaving: BTreeMap<String, WorkerEntry>,
    succession: Option<Succession>,
    backends: Arc<Backends>,
    manager: Arc<PluginManager>,
    tokenizing: Arc<Tokenizing>,
    certificates: Arc<CertificateWatch>,
    client_keys: Option<Arc<KeyRing>>,
}

/// What was on disk before the router started, for a [`Reloader`].
#[derive(Debug)]
pub(crate) struct AtStart(Applied);

impl AtStart {
    /// Of the configuration that the router is started with.
    pub(crate) fn of(config: &CheckedConfig) -> Self {
        Self(Applied::of(config))
    }
}

impl Reloader {
    pub(crate) fn new(
        args: ServeArgs,
        AtStart(applied): AtStart,
        backends: Arc<Backends>,
        manager: Arc<PluginManager>,
        tokenizing: Arc<Tokenizing>,
        certificates: Arc<CertificateWatch>,
        client_keys: Option<Arc<KeyRing>>,
    ) -> Self {
        let (leaving, succession) = (BTreeMap::new(), None);
        Self { args, applied, leaving, succession, backends, manager, tokenizing, certificates, client_keys }
    }

    /// Reads the configuration again and applies what has changed. A fault in it changes nothing; a
    /// plugin that cannot be loaded keeps what served.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves what was applied so far.
    pub(crate) async fn reload(&mut self) {
        // By themselves: a fault in the configuration says nothing against a new certificate.
        let certificates = Arc::clone(&self.certificates);
        // It panics for nothing that files may hold.
        let _ = tokio::task::spawn_blocking(move || certificates.look(true)).await;
        let args = self.args.clone();
        let (before, cache_bytes) = (self.tokenizing.set(), self.tokenizing.settings().cache_bytes);
        let read = tokio::task::spawn_blocking(move || {
            let config = configuration(&args)?;
            let tokenizers = TokenizerSet::load(&config.tokenizers, cache_bytes, &before)?;
            let trust = TrustPolicy::new(config.trust.clone());
            Ok::<_, Faults>((Applied::of(&config), trust.check_keys().map(|_| trust), tokenizers))
        });
        let Ok(read) = read.await else { return };
        let (mut wanted, trust, tokenizers) = match read {
            Ok(read) => read,
            Err(faults) => {
                let faults = faults.in_one_line();
                tracing::error!(faults, "nothing reloaded: the configuration has faults");
                return;
            }
        };
        match trust {
            Ok(trust) if wanted.trust != self.applied.trust => {
                self.manager.factory().set_trust(trust);
                tracing::info!("reloaded the rules about signatures");
            }
            // Keys are read when the rules are used, so unchanged rules follow their key files.
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "nothing reloaded: a rule about signatures cannot be used");
                return;
            }
        }
        self.reload_tokenizers(tokenizers).await;
        self.reload_client_keys().await;
        let left = self.tell_what_is_left(&wanted);
        self.reload_workers(&mut wanted);
        self.reload_plugins(&wanted).await;
        // Keeps the old values of keys that need a restart, so that the next reload reports them again.
        let fixed = std::mem::take(&mut self.applied.fixed);
        let admin_token = self.applied.admin_token.take();
        self.applied = Applied { fixed, admin_token, ..wanted };
        let leaving = self.leaving.len();
        tracing::info!(left, leaving, "reloaded the configuration");
    }

    /// Removes workers that are configured no more, once the others can take their place or the time for
    /// that is up. Waits for ever if there are none.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call goes on.
    pub(crate) async fn hand_over(&mut self) {
        let Some(succession) = &self.succession else { return std::future::pending().await };
        if !succession.ready().await {
            let leaving = self.leaving.len();
            tracing::warn!(
                leaving,
                "workers leave though those of the configuration cannot take their place"
            );
        }
        self.retire();
    }

    fn retire(&mut self) {
        self.succession = None;
        for url in std::mem::take(&mut self.leaving).keys() {
            let is_there = self.backends.retire(url).is_some();
            tracing::info!(worker = url, is_there, "not configured any more: draining, then removing");
        }
    }

    /// Logs one line for each changed key that needs a restart. Returns how many.
    fn tell_what_is_left(&self, wanted: &Applied) -> usize {
        let changed = self.applied.fixed.changed(&wanted.fixed);
        let keys = changed.map(|ChangedKey { key, before, now }| {
            tracing::warn!(key, before, now, "changed, but not applied: this key needs a restart");
        });
        let mut left = keys.count();
        if wanted.admin_token != self.applied.admin_token {
            tracing::warn!("the operators' token has changed, but is not applied: that needs a restart");
            left += 1;
        }
        left
    }

    /// Leaves workers alone that operators added. Workers that are gone leave after the others were
    /// added, and may serve until these can ([`hand_over`](Self::hand_over)).
    fn reload_workers(&mut self, wanted: &mut Applied) {
        let mut before = std::mem::take(&mut self.applied.workers);
        before.append(&mut self.leaving);
        let urls = |workers: &BTreeMap<String, WorkerEntry>| workers.keys().cloned().collect();
        let staying = urls(&wanted.workers);
        // Whose worker is another's does not become the configuration's: it stays when its entry goes.
        wanted.workers.retain(|url, entry| match before.remove(url) {
            Some(same) if same == *entry => true,
            known => self.apply(url, entry, known.is_some()),
        });
        self.leaving = before;
        let succession = self.backends.succession(urls(&self.leaving), staying);
        if succession.is_ready() {
            self.retire();
            return;
        }
        let limit = succession.limit();
        for url in succession.leaving() {
            tracing::info!(
                worker = url,
                ?limit,
                "not configured any more: serves on until the configured can"
            );
        }
        self.succession = Some(succession);
    }

    /// Adds a worker, also if an operator has removed it or does so right now. One that serves is changed
    /// if it is the configuration's. True if it is from now on.
    fn apply(&self, url: &str, entry: &WorkerEntry, is_configured: bool) -> bool {
        match self.backends.add(entry) {
            Ok(_) => {
                tracing::info!(worker = url, "added by the configuration");
                true
            }
            Err(AddError::Fleet(_)) if is_configured => {
                // Nothing changes if an operator was faster and removed it.
                if matches!(self.backends.change(entry), Ok(Some(_))) {
                    tracing::info!(worker = url, "changed by the configuration");
                }
                true
            }
            Err(AddError::Fleet(_)) => {
                let source = self.backends.origin(url).map(|origin| origin.source.as_str());
                tracing::info!(worker = url, source, "left as it is: it is there from another source");
                false
            }
            Err(error) => {
                tracing::error!(worker = url, %error, "not added");
                false
            }
        }
    }

    /// Has prompts tokenized by these from now on; those that have not changed go on as they are.
    async fn reload_tokenizers(&self, tokenizers: TokenizerSet) {
        let tokenizing = Arc::clone(&self.tokenizing);
        // It panics for nothing that files may hold.
        let _ = tokio::task::spawn_blocking(move || tokenizing.replace(tokenizers)).await;
    }

    /// Reads the file of clients' keys again; a fault in it leaves those before.
    async fn reload_client_keys(&self) {
        let Some(keys) = self.client_keys.clone() else { return };
        // It panics for nothing that a file may hold.
        let _ = tokio::task::spawn_blocking(move || client_keys::tell(&keys)).await;
    }

    /// Loads what has changed since it was loaded from its file, and unloads what the configuration does
    /// not name any more. What could not be loaded is tried again by the next reload.
    async fn reload_plugins(&self, wanted: &Applied) {
        self.manager.set_configured(wanted.plugins.keys().cloned().collect());
        for (name, entry) in &wanted.plugins {
            self.load(name, entry).await;
        }
        for FaultyPlugin { name, file, faults, .. } in &wanted.faulty {
            let error = Faults(faults.clone()).in_one_line();
            tracing::error!(plugin = shown(name), file, error, "not loaded; what served goes on");
        }
        for (name, file) in self.manager.files().names() {
            // Settings that cannot be read remove nothing.
            let is_faulty = || wanted.faulty.iter().any(|faulty| faulty.file == shown(&file));
            if wanted.plugins.contains_key(&name) || is_faulty() {
                continue;
            }
            match self.manager.unload_own(&name).await {
                Ok(true) => tracing::info!(plugin = name, "unloaded: not configured any more"),
                // Its file may come back as it was.
                Ok(false) => {
                    tracing::info!(plugin = name, "not configured any more; what was pushed goes on");
                    self.manager.files().gone(&name, &file);
                    continue;
                }
                // An operator was faster.
                Err(ManageError::Operation(OperationError::NotFound { .. })) => {}
                Err(error) => {
                    tracing::error!(plugin = name, %error, "not unloaded");
                    continue;
                }
            }
            self.manager.files().remove(&name);
        }
    }

    async fn load(&self, name: &str, entry: &PluginEntry) {
        let sources = self.manager.sources();
        let read = sources.of_configuration(entry.module_path.clone(), self.manager.factory()).await;
        let (module, module_path) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(plugin = name, %error, "not loaded; what served goes on");
                return;
            }
        };
        match self.manager.push_entry(PluginEntry { module_path, ..entry.clone() }, module).await {
            Ok(Some(pushed)) => tracing::info!(plugin = name, generation = pushed.generation, "reloaded"),
            Ok(None) => {}
            Err(error) => tracing::error!(plugin = name, %error, "not loaded; what served goes on"),
        }
    }
}
