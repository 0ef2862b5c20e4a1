//! The queue: who may wait, and what wakes those who do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::config::checked::QueueSettings;
use crate::metrics::{Metrics, catalogue};
use crate::proxy::queue::limit::TurnLimit;
use crate::proxy::queue::register::{NoPlace, Register, WaitingRequest};
use crate::proxy::queue::wait_counts::WaitCounts;
use crate::proxy::route::Route;
use sgl_api::WaitsFor;

/// How long those who wait may take to see that the router ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// All requests that wait. Requests that do not wait pass by it with one look at whether there is a
/// limit.
///
/// # Concurrency
///
/// The lock is taken when a request begins or ends to wait, and by those who look on.
#[derive(Debug)]
pub struct RequestQueue {
    settings: QueueSettings,
    /// What the bodies of all that wait may take together.
    max_body_bytes: u64,
    limit: Option<TurnLimit>,
    register: Mutex<Register>,
    counts: WaitCounts,
    /// Changes whenever a worker may be chosen that might not before.
    workers: watch::Sender<()>,
    closed: CancellationToken,
    /// Somebody has left since it was closed.
    left: Notify,
}

/// What is known of a request that is to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer<'a> {
    /// Where it goes.
    pub(crate) route: Route,
    /// The model that it names, if that is known by now.
    pub(crate) model: Option<&'a str>,
    /// Bytes of its body.
    pub(crate) body_bytes: u64,
}

/// Who waits at one moment.
#[derive(Debug)]
pub(crate) struct QueueLook {
    /// How many.
    pub(crate) waiting: usize,
    /// Bytes of their bodies.
    pub(crate) body_bytes: u64,
    /// Those who came first.
    pub(crate) first: Vec<WaitingRequest>,
}

impl RequestQueue {
    /// Nobody waits yet. The bodies of those that will may take `max_body_bytes` together.
    pub(crate) fn new(settings: QueueSettings, max_body_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            settings,
            max_body_bytes,
            limit: settings.max_concurrent.map(TurnLimit::new),
            register: Mutex::default(),
            counts: WaitCounts::default(),
            workers: watch::Sender::new(()),
            closed: CancellationToken::new(),
            left: Notify::new(),
        })
    }

    /// What is set.
    pub(crate) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// How many requests are served at a time, if there is a limit.
    #[inline]
    pub(crate) fn limit(&self) -> Option<&TurnLimit> {
        self.limit.as_ref()
    }

    /// What is counted.
    pub(crate) fn counts(&self) -> &WaitCounts {
        &self.counts
    }

    /// Looks whether one more with such a body could wait, without letting it.
    ///
    /// # Errors
    ///
    /// [`NoPlace`].
    pub(crate) fn check(&self, body_bytes: u64) -> Result<(), NoPlace> {
        self.register.lock().check(body_bytes, self.settings.size, self.max_body_bytes)
    }

    /// Enters a request from now on `until` then; its number.
    ///
    /// # Errors
    ///
    /// [`NoPlace`] if too many wait, or with too large bodies.
    pub(crate) fn enter(
        &self,
        waits_for: WaitsFor,
        newcomer: Newcomer<'_>,
        since: Instant,
        until: Instant,
    ) -> Result<u64, NoPlace> {
        let Newcomer { route, model, body_bytes } = newcomer;
        let mut register = self.register.lock();
        register.check(body_bytes, self.settings.size, self.max_body_bytes).inspect_err(|_| {
            self.counts.refused(waits_for);
        })?;
        let model = model.map(Box::from);
        Ok(register.add(WaitingRequest { waits_for, since, until, route, model, body_bytes }))
    }

    /// A request waits no longer.
    pub(crate) fn leave(&self, number: u64) {
        self.register.lock().remove(number);
        if self.closed.is_cancelled() {
            self.left.notify_waiters();
        }
    }

    /// A worker may be chosen that might not before, or there is another.
    pub(crate) fn workers_changed(&self) {
        self.workers.send_replace(());
    }

    /// Hears of changes of workers, from now on.
    pub(crate) fn hear_of_workers(&self) -> watch::Receiver<()> {
        self.workers.subscribe()
    }

    /// Nobody waits any longer. Ends when all have seen that.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        let emptied = async {
            loop {
                let left = self.left.notified();
                if self.register.lock().len() == 0 {
                    return;
                }
                left.await;
            }
        };
        // Who does not see it within this time is closed without being told.
        let _ = tokio::time::timeout(FAREWELL, emptied).await;
    }

    /// Ends when it is closed.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// What their bodies may take together.
    pub(crate) fn max_body_bytes(&self) -> u64 {
        self.max_body_bytes
    }

    /// Who waits now, at most so many by name.
    pub(crate) fn look(&self, most: usize) -> QueueLook {
        let register = self.register.lock();
        QueueLook { waiting: register.len(), body_bytes: register.body_bytes(), first: register.first(most) }
    }

    /// Has everything shown by `metrics`.
    pub(crate) fn register(self: &Arc<Self>, metrics: &Metrics) {
        let own = Arc::clone(self);
        metrics.register(move |families| {
            let (counts, bytes) = {
                let register = own.register.lock();
                (register.counts(), register.body_bytes())
            };
            let waiting = families.family(&catalogue::QUEUE_WAITING);
            for (waits_for, count) in WaitsFor::ALL.iter().zip(counts) {
                waiting.gauge(&[waits_for.as_str()], as_gauge(count));
            }
            #[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
            families.family(&catalogue::QUEUE_BODY_BYTES).gauge(&[], bytes as f64);
            if let Some(limit) = &own.limit {
                families.family(&catalogue::QUEUE_SERVED).gauge(&[], as_gauge(limit.served()));
            }
            own.counts.tell(families);
        });
    }
}

fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
