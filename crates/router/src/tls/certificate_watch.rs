//! Follows the files of certificates: what has changed is read again.
//!
//! The files are looked at and not the events of their directories: secrets of Kubernetes are links that
//! change somewhere else, and network file systems tell nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::manage::digest::sha256;
use crate::metrics::{Metrics, catalogue};
use crate::tls::listener_tls::ListenerTls;
use sgl_upstream::{CertificateValidity, MAX_PEM_BYTES, PemFault, WorkerTls};
use sglang_router_rs::types::file;

/// Reads the files again; when the certificate is valid, if there is one.
type ReadAgain = Box<dyn Fn() -> Result<Option<CertificateValidity>, PemFault> + Send + Sync>;

/// Reads the files and changes nothing.
type TryOut = Box<dyn Fn() -> Result<(), PemFault> + Send + Sync>;

/// What came of a certificate whose files have changed: who sees it, and why it was not replaced.
pub(crate) type CertificateChange = (&'static str, Result<(), String>);

/// A certificate with its files.
struct WatchedCertificate {
    /// Who sees it.
    name: &'static str,
    files: Vec<PathBuf>,
    read_again: ReadAgain,
    try_out: TryOut,
    failed_handshakes: Option<Arc<ListenerTls>>,
    state: Mutex<WatchState>,
}

#[derive(Debug, Default)]
struct WatchState {
    validity: Option<CertificateValidity>,
    /// Of the files that serve.
    loaded: String,
    /// Of what was found last, and may be half written still.
    found: Option<String>,
    /// Of what could not be used.
    refused: Option<String>,
    reloads: u64,
    failures: u64,
    has_told_end: bool,
}

impl fmt::Debug for WatchedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedCertificate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl WatchedCertificate {
    /// That of a listener, which `name` connects to.
    fn of_listener(name: &'static str, tls: &Arc<ListenerTls>) -> Self {
        let (again, tried) = (Arc::clone(tls), Arc::clone(tls));
        let read_again: ReadAgain = Box::new(move || again.reload().map(Some));
        let ways = (read_again, Box::new(move || tried.try_out()) as TryOut);
        Self::new(name, tls.files(), ways, Some(tls.validity()), Some(Arc::clone(tls)))
    }

    /// What workers see, and whom the router trusts among them; `None` if nothing of it is in files.
    ///
    /// # Errors
    ///
    /// [`PemFault`] if one of the files cannot be used.
    fn of_workers(tls: &Arc<WorkerTls>) -> Result<Option<Self>, PemFault> {
        let files = tls.files();
        if files.is_empty() {
            return Ok(None);
        }
        let (again, tried) = (Arc::clone(tls), Arc::clone(tls));
        let read_again: ReadAgain = Box::new(move || again.reload());
        let ways = (read_again, Box::new(move || tried.try_out()) as TryOut);
        let validity = tls.reload()?;
        Ok(Some(Self::new("workers", files, ways, validity, None)))
    }

    fn new(
        name: &'static str,
        files: Vec<PathBuf>,
        (read_again, try_out): (ReadAgain, TryOut),
        validity: Option<CertificateValidity>,
        failed_handshakes: Option<Arc<ListenerTls>>,
    ) -> Self {
        let state = WatchState { validity, loaded: digest(&files), ..WatchState::default() };
        Self { name, files, read_again, try_out, failed_handshakes, state: Mutex::new(state) }
    }

    /// Reads what has changed again. Files that are written one after the other do not match in between, so
    /// only what is found twice is read, unless somebody asks for it. What came of it, if it was read.
    fn look(&self, is_asked: bool) -> Option<CertificateChange> {
        let found = digest(&self.files);
        if !self.is_due(&found, is_asked) {
            return None;
        }
        // Outside the lock: a scrape takes it too, and files may be far away.
        let read = (self.read_again)();
        let mut state = self.state.lock();
        match read {
            Ok(validity) => {
                let until = validity.map(|validity| httpdate::fmt_http_date(validity.end()));
                tracing::info!(certificate = self.name, until, "read the certificate's files again");
                *state = WatchState {
                    validity,
                    loaded: found,
                    reloads: state.reloads + 1,
                    failures: state.failures,
                    ..WatchState::default()
                };
                Some((self.name, Ok(())))
            }
            Err(fault) => {
                let error = fault.to_string();
                tracing::error!(certificate = self.name, error, "not replaced; the one before goes on");
                state.refused = Some(found);
                state.failures += 1;
                Some((self.name, Err(error)))
            }
        }
    }

    /// What would come of reading what has changed.
    fn look_only(&self) -> Option<CertificateChange> {
        let has_changed = digest(&self.files) != self.state.lock().loaded;
        has_changed.then(|| (self.name, (self.try_out)().map_err(|fault| fault.to_string())))
    }

    /// True if what was found is to be read.
    fn is_due(&self, found: &String, is_asked: bool) -> bool {
        let mut state = self.state.lock();
        self.tell_end(&mut state);
        if *found == state.loaded {
            (state.found, state.refused) = (None, None);
            return false;
        }
        let is_old = state.refused.as_ref() == Some(found);
        let is_whole = state.found.replace(found.clone()).as_ref() == Some(found);
        is_asked || is_whole && !is_old
    }

    /// Says once that the certificate has expired.
    fn tell_end(&self, state: &mut WatchState) {
        let Some(validity) = state.validity.filter(|validity| validity.has_expired()) else { return };
        if !std::mem::replace(&mut state.has_told_end, true) {
            let since = httpdate::fmt_http_date(validity.end());
            let (name, files) = (self.name, &self.files);
            tracing::error!(
                certificate = name,
                since,
                ?files,
                "the certificate has expired and is refused by most"
            );
        }
    }
}

/// Of all that the files hold; a file that cannot be read counts as one that holds something else.
fn digest(files: &[PathBuf]) -> String {
    // As they are read when they are used: nothing that could block, or be without an end.
    let one = |path: &PathBuf| {
        file::read(path, MAX_PEM_BYTES).map_or_else(|error| error.to_string(), |all| sha256(&all))
    };
    files.iter().map(one).collect()
}

/// All certificates of a router.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    certificates: Vec<WatchedCertificate>,
}

impl CertificateWatch {
    /// Of the listeners, each under the name of who connects there, and of workers.
    ///
    /// # Errors
    ///
    /// [`PemFault`] if a file that concerns workers cannot be used.
    pub(crate) fn of(
        listeners: [(&'static str, &Option<Arc<ListenerTls>>); 3],
        workers: &Arc<WorkerTls>,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, PemFault> {
        let listeners = listeners.into_iter().filter_map(|(name, tls)| Some((name, tls.as_ref()?)));
        let mut all: Vec<_> =
            listeners.map(|(name, tls)| WatchedCertificate::of_listener(name, tls)).collect();
        all.extend(WatchedCertificate::of_workers(workers)?);
        Ok(Self::new(all, metrics))
    }

    fn new(certificates: Vec<WatchedCertificate>, metrics: &Metrics) -> Arc<Self> {
        let watch = Arc::new(Self { certificates });
        if !watch.certificates.is_empty() {
            watch.look(false);
            let told = Arc::clone(&watch);
            metrics.register(move |families| {
                let states = || told.certificates.iter().map(|one| (one, one.state.lock()));
                let ends = families.family(&catalogue::CERTIFICATE_END);
                for (one, state) in states() {
                    if let Some(validity) = state.validity {
                        ends.gauge(&[one.name], validity.not_after as f64);
                    }
                }
                let reloads = families.family(&catalogue::CERTIFICATE_RELOADS);
                for (one, state) in states() {
                    reloads
                        .count(&[one.name, "done"], state.reloads)
                        .count(&[one.name, "failed"], state.failures);
                }
                let handshakes = families.family(&catalogue::FAILED_HANDSHAKES);
                for one in &told.certificates {
                    if let Some(tls) = &one.failed_handshakes {
                        handshakes.count(&[one.name], tls.failed_handshakes());
                    }
                }
            });
        }
        watch
    }

    /// True if there is nothing to follow.
    pub(crate) fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Looks at all files now. Reads from the disk.
    pub(crate) fn look(&self, is_asked: bool) -> Vec<CertificateChange> {
        self.certificates.iter().filter_map(|certificate| certificate.look(is_asked)).collect()
    }

    /// What [`look`](Self::look) would come to, asked, without it. Reads from the disk.
    pub(crate) fn look_only(&self) -> Vec<CertificateChange> {
        self.certificates.iter().filter_map(WatchedCertificate::look_only).collect()
    }

    /// Looks at them for ever, at this interval.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn keep(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let watch = Arc::clone(&self);
            // It panics for nothing that files may hold.
            let _ = tokio::task::spawn_blocking(move || watch.look(false)).await;
        }
    }
}
