//! The workers of the configuration, and how they follow it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::reload::report::{change, changed, refusal};
use crate::config::config_view::{WORKER_SECRETS, worker_settings};
use crate::config::worker_entry::WorkerEntry;
use crate::proxy::AddError;
use crate::proxy::Backends;
use crate::proxy::succession::Succession;
use sgl_api::{ReloadChange, ReloadReport, Reloadable, ReloadedAs};

/// Workers by their URLs.
type WorkersByUrl = BTreeMap<String, WorkerEntry>;

/// The workers of the configuration.
#[derive(Debug)]
pub(crate) struct ConfiguredWorkers {
    backends: Arc<Backends>,
    workers: WorkersByUrl,
    /// As they were configured: they are configured no more and serve until others can.
    leaving: WorkersByUrl,
    succession: Option<Succession>,
}

impl ConfiguredWorkers {
    /// These were added when the router started.
    pub(crate) fn new(backends: Arc<Backends>, workers: WorkersByUrl) -> Self {
        Self { backends, workers, leaving: WorkersByUrl::new(), succession: None }
    }

    /// How many wait to go.
    pub(crate) fn leaving(&self) -> usize {
        self.leaving.len()
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

    /// What [`reload`](Self::reload) would come to.
    pub(crate) fn plan(&self, wanted: &WorkersByUrl, report: &mut ReloadReport) {
        for (url, entry) in wanted {
            let Some(change) = self.change_of(url, entry) else { continue };
            match self.source_of(url).filter(|_| self.known(url).is_none()) {
                Some(source) => {
                    report.left_to_others.push(refusal(Reloadable::Worker, url, of_another(source)));
                }
                None => report.applied.push(change),
            }
        }
        report.applied.extend(gone(&self.workers, wanted));
    }

    /// Leaves workers alone that operators added. Workers that are gone leave after the others were
    /// added, and may serve until these can ([`hand_over`](Self::hand_over)).
    pub(crate) fn reload(&mut self, mut wanted: WorkersByUrl, report: &mut ReloadReport) {
        let staying: Vec<String> = wanted.keys().cloned().collect();
        let gone = gone(&self.workers, &wanted);
        let backends = Arc::clone(&self.backends);
        let batch = backends.batch();
        // Whose worker is another's does not become the configuration's: it stays when its entry goes.
        wanted.retain(|url, entry| {
            let Some(change) = self.change_of(url, entry) else { return true };
            let known = self.known(url);
            let applied = match known {
                Some(same) if same == entry => Ok(()),
                known => self.apply(url, entry, known.is_some()),
            };
            let told = |reason: &str| refusal(Reloadable::Worker, url, reason);
            match &applied {
                Ok(()) => report.applied.push(change),
                Err(NotApplied::Anothers(source)) => report.left_to_others.push(told(&of_another(source))),
                Err(NotApplied::Refused(reason)) => report.refused.push(told(reason)),
            }
            applied.is_ok()
        });
        drop(batch);
        let mut before = std::mem::take(&mut self.workers);
        before.append(&mut self.leaving);
        before.retain(|url, _| !staying.contains(url));
        (self.leaving, self.workers) = (before, wanted);
        let note = self.begin_succession(staying);
        report.applied.extend(gone.into_iter().map(|gone| ReloadChange { note: note.clone(), ..gone }));
    }

    /// Has workers leave at once or when others can take their place; what is to be said of the latter.
    fn begin_succession(&mut self, staying: Vec<String>) -> Option<String> {
        let succession = self.backends.succession(self.leaving.keys().cloned().collect(), staying);
        if succession.is_ready() {
            self.retire();
            return None;
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
        Some(format!("serves on until the configured can, {} s at most", limit.as_secs()))
    }

    /// Where a worker comes from that is there to stay.
    fn source_of(&self, url: &str) -> Option<&'static str> {
        let origin = self.backends.origin(url).filter(|origin| !origin.is_leaving)?;
        Some(origin.source.as_str())
    }

    /// As the configuration had it.
    fn known(&self, url: &str) -> Option<&WorkerEntry> {
        self.workers.get(url).or_else(|| self.leaving.get(url))
    }

    /// What this entry changes; `None` if nothing.
    fn change_of(&self, url: &str, entry: &WorkerEntry) -> Option<ReloadChange> {
        let Some(known) = self.workers.get(url) else {
            let note = self.leaving.contains_key(url).then(|| "it was about to go, and stays".to_owned());
            return Some(ReloadChange { note, ..change(Reloadable::Worker, url, ReloadedAs::Added) });
        };
        let (before, now) = (worker_settings(known), worker_settings(entry));
        (known != entry).then(|| changed(Reloadable::Worker, url, &before, &now, &WORKER_SECRETS))
    }

    /// Adds a worker, also if an operator has removed it or does so right now. One that serves is changed
    /// if it is the configuration's. Why it is not the configuration's, if it is another's.
    fn apply(&self, url: &str, entry: &WorkerEntry, is_configured: bool) -> Result<(), NotApplied> {
        match self.backends.add(entry) {
            Ok(_) => {
                tracing::info!(worker = url, "added by the configuration");
                Ok(())
            }
            Err(AddError::Fleet(_)) if is_configured => {
                // Nothing changes if an operator was faster and removed it.
                if matches!(self.backends.change(entry), Ok(Some(_))) {
                    tracing::info!(worker = url, "changed by the configuration");
                }
                Ok(())
            }
            Err(AddError::Fleet(_)) => {
                let source = self.source_of(url).unwrap_or_default();
                tracing::info!(worker = url, source, "left as it is: it is there from another source");
                Err(NotApplied::Anothers(source))
            }
            Err(error) => {
                tracing::error!(worker = url, %error, "not added");
                Err(NotApplied::Refused(error.to_string()))
            }
        }
    }
}

/// Why a worker of the configuration is not its worker.
#[derive(Debug)]
enum NotApplied {
    /// Another source has it.
    Anothers(&'static str),
    /// It cannot be one.
    Refused(String),
}

/// Why a worker is left alone.
fn of_another(source: &str) -> String {
    format!("left as it is: it is there from another source ({source})")
}

/// Workers of `before` that are not wanted any more.
fn gone(before: &WorkersByUrl, wanted: &WorkersByUrl) -> Vec<ReloadChange> {
    let gone = before.keys().filter(|url| !wanted.contains_key(*url));
    gone.map(|url| change(Reloadable::Worker, url, ReloadedAs::Removed)).collect()
}
