//! Applies configurations to a running router.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admin::configuration::{ConfigDoor, ReloadRequest};
use crate::cli::assembly::RunningRouter;
use crate::cli::flags::ServeArgs;
use crate::cli::reload::next_config::{Applied, NextConfig, ReloadError, workers_of};
use crate::cli::reload::plugin_reload::ConfiguredPlugins;
use crate::cli::reload::report::{add_certificates, add_tokenizers, change, client_key_changes, refusal};
use crate::cli::reload::worker_reload::ConfiguredWorkers;
use crate::config::checked::CheckedConfig;
use crate::config::client_key_file::read_client_keys;
use crate::config::config_view::{config_view, followed};
use crate::config::worker_entry::WorkerEntry;
use crate::proxy::access_log::AccessLog;
use crate::proxy::client_keys;
use crate::proxy::client_keys::KeyRing;
use crate::records::Recorder;
use crate::tls::CertificateWatch;
use crate::tokens::{TokenizerSet, Tokenizing};
use sgl_api::{ChangedValue, Problem, ReloadChange, ReloadReport, Reloadable, ReloadedAs};
use sglang_router_rs::policies::TrustPolicy;

/// Applies configurations to a running router.
#[derive(Debug)]
pub(crate) struct Reloader {
    args: ServeArgs,
    applied: Applied,
    workers: ConfiguredWorkers,
    plugins: ConfiguredPlugins,
    tokenizing: Arc<Tokenizing>,
    certificates: Arc<CertificateWatch>,
    client_keys: Option<Arc<KeyRing>>,
    access_log: Option<Arc<AccessLog>>,
    recorder: Option<Arc<Recorder>>,
    door: Arc<ConfigDoor>,
}

/// What was on disk before the router started, for a [`Reloader`].
#[derive(Debug)]
pub(crate) struct AtStart {
    applied: Applied,
    workers: BTreeMap<String, WorkerEntry>,
    view: serde_json::Value,
}

impl AtStart {
    /// Of the configuration that the router is started with.
    pub(crate) fn of(config: &CheckedConfig) -> Self {
        Self { applied: Applied::of(config), workers: workers_of(config), view: config_view(config) }
    }

    /// What operators see of it.
    pub(crate) fn view(&self) -> serde_json::Value {
        self.view.clone()
    }
}

impl Reloader {
    /// For a router that was started so.
    pub(crate) fn new(args: ServeArgs, at_start: AtStart, router: &RunningRouter) -> Self {
        let proxy = router.proxy();
        Self {
            args,
            applied: at_start.applied,
            workers: ConfiguredWorkers::new(Arc::clone(proxy.backends()), at_start.workers),
            plugins: ConfiguredPlugins::new(Arc::clone(router.manager())),
            tokenizing: Arc::clone(proxy.tokenizing()),
            certificates: Arc::clone(router.certificates()),
            client_keys: proxy.client_keys().cloned(),
            access_log: proxy.access_log().cloned(),
            recorder: proxy.recorder().cloned(),
            door: Arc::clone(router.config_door()),
        }
    }

    /// Does what an operator asked for, and answers.
    ///
    /// # Cancel safety
    ///
    /// As [`reload`](Self::reload).
    pub(crate) async fn answer(&mut self, ReloadRequest { dry_run, answer }: ReloadRequest) {
        // Boxed: it is much larger than what most of the time is waited for.
        let done = if dry_run { self.plan().await } else { Box::pin(self.reload()).await };
        // It is done whether somebody waits for the answer or not.
        let _ = answer.send(done.map_err(Problem::from));
    }

    /// Waits for workers that leave ([`ConfiguredWorkers::hand_over`]).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call goes on.
    pub(crate) async fn hand_over(&mut self) {
        self.workers.hand_over().await;
    }

    /// What [`reload`](Self::reload) would come to.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload).
    ///
    /// # Cancel safety
    ///
    /// Nothing is left.
    async fn plan(&self) -> Result<ReloadReport, ReloadError> {
        let read = self.read().await?;
        let mut report = ReloadReport { dry_run: true, ..ReloadReport::default() };
        let certificates = Arc::clone(&self.certificates);
        let changes = tokio::task::spawn_blocking(move || certificates.look_only()).await;
        add_certificates(&mut report, changes.unwrap_or_default());
        self.add_trust(&read.config, &mut report);
        add_tokenizers(&mut report, &self.tokenizing.set(), &read.tokenizers);
        if let Some(keys) = self.client_keys.clone() {
            let looked = tokio::task::spawn_blocking(move || {
                let read = keys.file().map(|file| read_client_keys(file))?;
                Some(read.map(|now| client_key_changes(&keys.entries(), &now)))
            });
            add_client_keys(&mut report, looked.await.ok().flatten().unwrap_or(Ok(Vec::new())));
        }
        self.add_share(&read.config, &mut report);
        report.needs_restart = self.left(&read.config);
        self.workers.plan(&workers_of(&read.config), &mut report);
        self.plugins.plan(&read.config, read.trust, &mut report).await;
        Ok(report)
    }

    /// Reads the configuration again and applies what has changed. A fault in it changes nothing; a
    /// plugin that cannot be loaded keeps what served. What came of it is in the log too.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]: nothing was changed but certificates.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves what was applied so far.
    pub(crate) async fn reload(&mut self) -> Result<ReloadReport, ReloadError> {
        let mut report = ReloadReport::default();
        self.access_log.iter().for_each(|log| log.reopen());
        // By themselves: a fault in the configuration says nothing against a new certificate.
        let certificates = Arc::clone(&self.certificates);
        // It panics for nothing that files may hold.
        let changes = tokio::task::spawn_blocking(move || certificates.look(true)).await;
        add_certificates(&mut report, changes.unwrap_or_default());
        let NextConfig { config, tokenizers, trust } = match self.read().await {
            Ok(read) => read,
            Err(error) => {
                tell_failure(&error);
                return Err(error);
            }
        };
        self.reload_trust(&config, trust, &mut report);
        self.reload_tokenizers(tokenizers, &mut report).await;
        self.reload_client_keys(&mut report).await;
        if let (Some(share), Some(recorder)) = (self.add_share(&config, &mut report), &self.recorder) {
            recorder.set_share(share);
        }
        report.needs_restart = self.left(&config);
        tell_what_is_left(&report.needs_restart);
        self.workers.reload(workers_of(&config), &mut report);
        self.plugins.reload(&config, &mut report).await;
        // The old values of keys that need a restart stay, so that the next reload reports them again.
        self.applied.trust.clone_from(&config.trust);
        let share = self.recorder.as_ref().map(|recorder| recorder.share());
        self.door.update(|running| followed(running, &config, share));
        let (left, leaving) = (report.needs_restart.len(), self.workers.leaving());
        tracing::info!(left, leaving, "reloaded the configuration");
        Ok(report)
    }

    async fn read(&self) -> Result<NextConfig, ReloadError> {
        let args = self.args.clone();
        let (before, cache_bytes) = (self.tokenizing.set(), self.tokenizing.settings().cache_bytes);
        let read = tokio::task::spawn_blocking(move || NextConfig::read(&args, &before, cache_bytes));
        // It panics for nothing that files may hold.
        read.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// The keys that were changed and need a restart.
    fn left(&self, config: &CheckedConfig) -> Vec<ChangedValue> {
        let mut left = self.applied.left(&Applied::of(config));
        // Where nothing records, somebody has to open what does.
        left.retain(|changed| self.recorder.is_none() || changed.key != "records.sample");
        left
    }

    /// Adds the share of requests that are recorded if it is another, and gives it.
    fn add_share(&self, config: &CheckedConfig, report: &mut ReloadReport) -> Option<f64> {
        let before = self.recorder.as_ref()?.share();
        let now = config.records.as_ref().map_or(0.0, |records| records.sample);
        if before.to_bits() == now.to_bits() {
            return None;
        }
        let [before, now_told] = [before, now].map(|share| Some(share.to_string()));
        let values = vec![ChangedValue { key: "sample".to_owned(), before, now: now_told }];
        let told = change(Reloadable::Records, "sample", ReloadedAs::Changed);
        report.applied.push(ReloadChange { values, ..told });
        Some(now)
    }

    /// Adds the rules about signatures if they are others; true if they are.
    fn add_trust(&self, config: &CheckedConfig, report: &mut ReloadReport) -> bool {
        let are_others = config.trust != self.applied.trust;
        if are_others {
            report.applied.push(change(Reloadable::Trust, "all rules", ReloadedAs::Changed));
        }
        are_others
    }

    /// Keys are read when the rules are used, so unchanged rules follow their key files.
    fn reload_trust(&self, config: &CheckedConfig, trust: TrustPolicy, report: &mut ReloadReport) {
        if self.add_trust(config, report) {
            self.plugins.set_trust(trust);
            tracing::info!("reloaded the rules about signatures");
        }
    }

    /// Has prompts tokenized by these from now on; those that have not changed go on as they are.
    async fn reload_tokenizers(&self, tokenizers: TokenizerSet, report: &mut ReloadReport) {
        add_tokenizers(report, &self.tokenizing.set(), &tokenizers);
        let tokenizing = Arc::clone(&self.tokenizing);
        // It panics for nothing that files may hold.
        let _ = tokio::task::spawn_blocking(move || tokenizing.replace(tokenizers)).await;
    }

    /// Reads the file of clients' keys again; a fault in it leaves those before.
    async fn reload_client_keys(&self, report: &mut ReloadReport) {
        let Some(keys) = self.client_keys.clone() else { return };
        let read = tokio::task::spawn_blocking(move || {
            let before = keys.entries();
            client_keys::tell(&keys).map(|()| client_key_changes(&before, &keys.entries()))
        });
        // It panics for nothing that a file may hold.
        add_client_keys(report, read.await.unwrap_or(Ok(Vec::new())));
    }
}

fn add_client_keys(report: &mut ReloadReport, read: Result<Vec<ReloadChange>, String>) {
    match read {
        Ok(changes) => report.applied.extend(changes),
        Err(error) => report.refused.push(refusal(Reloadable::ClientKey, "all keys", error)),
    }
}

fn tell_failure(error: &ReloadError) {
    match error {
        ReloadError::Faults(faults) => {
            let faults = faults.in_one_line();
            tracing::error!(faults, "nothing reloaded: the configuration has faults");
        }
        ReloadError::Trust(error) => {
            tracing::error!(%error, "nothing reloaded: a rule about signatures cannot be used");
        }
        ReloadError::Stopping => {}
    }
}

/// Logs one line for each changed key that needs a restart.
fn tell_what_is_left(left: &[ChangedValue]) {
    for ChangedValue { key, before, now } in left {
        let (before, now) = (before.as_deref(), now.as_deref());
        let instead =
            if key == "policy" { "; `sgl-router policy use` changes the policy at once" } else { "" };
        tracing::warn!(key, before, now, "changed, but not applied: this key needs a restart{instead}");
    }
}
