//! The queue: who may wait, and what wakes those who do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
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
use sglang_router_rs::policies::{AskOrder, Wait};

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
    waiting: Mutex<QueuePlace>,
    /// How many the policy has wait.
    held: AtomicU32,
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

/// Who waits, and who of those whom the policy has wait is asked.
#[derive(Debug, Default)]
struct QueuePlace {
    register: Register,
    asks: AskOrder,
    /// How each of these hears that it is asked.
    calls: HashMap<u64, Arc<Notify>>,
    /// Whether somebody stirs now and then.
    is_stirred: bool,
}

impl QueuePlace {
    /// Tells whom the turn was given to.
    fn call(&mut self) {
        let call = self.asks.take_call().and_then(|number| self.calls.get(&number));
        call.into_iter().for_each(|call| call.notify_one());
    }
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
            waiting: Mutex::default(),
            held: AtomicU32::new(0),
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
        self.waiting.lock().register.check(body_bytes, self.settings.size, self.max_body_bytes)
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
        let register = &mut self.waiting.lock().register;
        register.check(body_bytes, self.settings.size, self.max_body_bytes).inspect_err(|_| {
            self.counts.refused(waits_for);
        })?;
        let model = model.map(Box::from);
        let wait = None;
        Ok(register.add(WaitingRequest { waits_for, since, until, route, model, body_bytes, wait }))
    }

    /// A request waits no longer.
    pub(crate) fn leave(&self, number: u64) {
        self.waiting.lock().register.remove(number);
        if self.closed.is_cancelled() {
            self.left.notify_waiters();
        }
    }

    /// A worker may be chosen that might not before, or there is another.
    pub(crate) fn workers_changed(&self) {
        self.workers.send_replace(());
        self.stir();
    }

    /// Hears of changes of workers, from now on.
    pub(crate) fn hear_of_workers(&self) -> watch::Receiver<()> {
        self.workers.subscribe()
    }

    /// How many the policy has wait.
    #[inline]
    pub(crate) fn held(&self) -> u32 {
        // Relaxed: a gauge.
        self.held.load(Ordering::Relaxed)
    }

    /// The policy has a request wait that has this number. All who are held may be asked then: what
    /// happened while this one was asked told nobody.
    pub(crate) fn hold(self: &Arc<Self>, number: u64, wait: &Wait, call: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        if let Some(request) = waiting.register.get_mut(number) {
            request.wait = Some(*wait);
        }
        waiting.calls.insert(number, Arc::clone(call));
        waiting.asks.enter(number, wait.key, wait.reasks);
        // Relaxed: whoever changes something just now and sees the number as it was is late by a moment,
        // and so is what it changed: the stirring below, or the next, sees it.
        self.held.fetch_add(1, Ordering::Relaxed);
        waiting.asks.stir();
        waiting.call();
        if !std::mem::replace(&mut waiting.is_stirred, true) {
            drop(tokio::spawn(stir_now_and_then(Arc::downgrade(self), self.settings.stir_interval)));
        }
    }

    /// One who was asked still waits.
    pub(crate) fn still_waits(&self, number: u64, wait: &Wait, until: Instant) {
        let mut waiting = self.waiting.lock();
        if let Some(request) = waiting.register.get_mut(number) {
            request.wait = Some(*wait);
            request.until = until;
        }
        waiting.asks.still_waits(number, wait.key, wait.reasks);
        waiting.call();
    }

    /// One is held no longer: it was placed, or not. Nothing happens the second time.
    pub(crate) fn release(&self, number: u64, placed: bool) {
        let mut waiting = self.waiting.lock();
        if waiting.asks.leave(number, placed) {
            waiting.calls.remove(&number);
            waiting.call();
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The time of one is over: it is asked next.
    pub(crate) fn is_due(&self, number: u64) {
        let mut waiting = self.waiting.lock();
        waiting.asks.is_due(number);
        waiting.call();
    }

    /// Something has changed that a policy may have waited for: a first token, an end, a worker.
    #[inline]
    pub(crate) fn stir(&self) {
        if self.held() > 0 {
            let mut waiting = self.waiting.lock();
            waiting.asks.stir();
            waiting.call();
        }
    }

    /// Nobody waits any longer. Ends when all have seen that.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        let emptied = async {
            loop {
                let left = self.left.notified();
                if self.waiting.lock().register.len() == 0 {
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
        let register = &self.waiting.lock().register;
        QueueLook { waiting: register.len(), body_bytes: register.body_bytes(), first: register.first(most) }
    }

    /// Has everything shown by `metrics`.
    pub(crate) fn register(self: &Arc<Self>, metrics: &Metrics) {
        let own = Arc::clone(self);
        metrics.register(move |families| {
            let (counts, bytes) = {
                let register = &own.waiting.lock().register;
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

/// Until nobody is held.
async fn stir_now_and_then(queue: Weak<RequestQueue>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(queue) = queue.upgrade() else { return };
        let mut waiting = queue.waiting.lock();
        if queue.held() == 0 {
            waiting.is_stirred = false;
            return;
        }
        waiting.asks.stir();
        waiting.call();
    }
}

fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
