//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::config::checked::ProxySettings;
use crate::manage::Placing;
use crate::metrics::{Metrics, catalogue};
use crate::proxy::access_log::AccessLog;
use crate::proxy::backends::Backends;
use crate::proxy::client_keys::KeyRing;
use crate::proxy::measures::Measures;
use crate::proxy::pressure::Pressure;
use crate::proxy::queue::RequestQueue;
use crate::proxy::response_homes::ResponseHomes;
use crate::proxy::route::Route;
use crate::proxy::sent_prefixes::SentPrefixes;
use crate::proxy::shortage::Shortage;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::source_reports::{SourceReport, SourceReports};
use crate::proxy::traces::Tracer;
use crate::proxy::worker_door::WorkerDoor;
use crate::records::Recorder;
use crate::tokens::Tokenizing;
use sglang_router_rs::core::{ArrivalRate, TokenRatios};
use sglang_router_rs::policies::{OutcomeNeeds, PolicyHandle, RequestNeeds};

/// The share of the memory for bodies that those of waiting requests may take: one half.
const SHARE_OF_WAITING: u64 = 2;

/// The data plane without its sockets.
#[derive(Debug)]
pub struct DataPlane {
    settings: ProxySettings,
    placing: Arc<Placing>,
    backends: Arc<Backends>,
    measures: Arc<Measures>,
    pressure: Arc<Pressure>,
    queue: Arc<RequestQueue>,
    recorder: Option<Arc<Recorder>>,
    token_ratios: Arc<TokenRatios>,
    arrivals: ArrivalRate,
    tokenizing: Arc<Tokenizing>,
    response_homes: Option<Arc<ResponseHomes>>,
    client_keys: Option<Arc<KeyRing>>,
    worker_door: OnceLock<WorkerDoor>,
    sources: OnceLock<SourceReports>,
    access_log: OnceLock<Arc<AccessLog>>,
    tracer: OnceLock<Tracer>,
    sent_prefixes: OnceLock<Arc<SentPrefixes>>,
    stopping: AtomicBool,
}

impl DataPlane {
    /// A data plane that places requests by `policy`; its numbers are shown by `metrics`, and
    /// `recorder` records decisions, if there is one.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: workers get their keeper tasks there.
    pub fn new(
        settings: ProxySettings,
        policy: PolicyHandle,
        metrics: &Metrics,
        recorder: Option<Arc<Recorder>>,
    ) -> Arc<Self> {
        let pressure = Arc::new(Pressure::new(settings.max_total_body_bytes));
        pressure.register(metrics);
        let queue = RequestQueue::new(settings.queue, pressure.max_body_bytes() / SHARE_OF_WAITING);
        queue.register(metrics);
        let backends = Arc::new(Backends::with_queue(settings.clone(), Arc::clone(&queue)));
        let recorded = recorder.as_ref().map(|recorder| recorder.fleet_needs()).unwrap_or_default();
        let placing = Placing::new(policy);
        backends.serve(Arc::clone(&placing), recorded);
        let measures = Arc::new(Measures::default());
        measures.register(&backends, metrics);
        let token_ratios = Arc::new(TokenRatios::default());
        register_ratios(Arc::clone(&token_ratios), metrics);
        let tokenizing = Tokenizing::new(settings.tokenizing);
        tokenizing.register(metrics);
        let calls = &settings.calls;
        let response_homes = ResponseHomes::new(calls.remembered_responses, calls.remember_responses);
        let keys = settings.keys.clients.as_ref();
        let client_keys = keys.map(|(file, entries)| KeyRing::new(file.clone(), entries));
        client_keys.iter().for_each(|ring| ring.register(metrics));
        Arc::new(Self {
            settings,
            placing,
            backends,
            measures,
            pressure,
            queue,
            recorder,
            token_ratios,
            arrivals: ArrivalRate::new(Instant::now()),
            tokenizing,
            response_homes,
            client_keys,
            worker_door: OnceLock::new(),
            sources: OnceLock::new(),
            access_log: OnceLock::new(),
            tracer: OnceLock::new(),
            sent_prefixes: OnceLock::new(),
            stopping: AtomicBool::new(false),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &ProxySettings {
        &self.settings
    }

    /// The policy in use.
    pub fn policy(&self) -> PolicyHandle {
        self.placing.policy()
    }

    /// Which policies place requests.
    pub(crate) fn placing(&self) -> &Arc<Placing> {
        &self.placing
    }

    /// What has to be known of a request: for its policy, and for records of all inputs.
    pub(crate) fn request_needs(&self, policy: &PolicyHandle) -> RequestNeeds {
        let needs = policy.needs();
        match &self.recorder {
            Some(recorder) if recorder.records_all() => needs.and(recorder.request_needs()),
            _ => needs,
        }
    }

    /// What is looked for in an answer: for the policy, for records of all inputs, and for metrics.
    pub(crate) fn outcome_needs(&self, needs: OutcomeNeeds) -> OutcomeNeeds {
        let records_all = self.recorder.as_ref().is_some_and(|recorder| recorder.records_all());
        let usage = needs.usage || records_all || self.settings.token_metrics;
        OutcomeNeeds { usage, lessons: needs.lessons || records_all, ..needs }
    }

    /// The workers.
    pub fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }

    /// The counters.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// What the process may run short of.
    pub fn pressure(&self) -> &Arc<Pressure> {
        &self.pressure
    }

    /// What is sent to workers is kept here for other routers from now on. Only the first one counts.
    pub(crate) fn share_sent(&self, sent: Arc<SentPrefixes>) {
        // A second one is left out.
        let _ = self.sent_prefixes.set(sent);
    }

    /// Where what is sent to workers is kept for other routers, if there are any.
    pub(crate) fn sent_prefixes(&self) -> Option<&SentPrefixes> {
        self.sent_prefixes.get().map(Arc::as_ref)
    }

    /// What waits.
    pub(crate) fn queue(&self) -> &Arc<RequestQueue> {
        &self.queue
    }

    /// What records decisions.
    pub fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref()
    }

    /// How long prompts are in tokens, as far as their text says.
    pub fn token_ratios(&self) -> &TokenRatios {
        &self.token_ratios
    }

    /// How many requests come.
    pub(crate) fn arrivals(&self) -> &ArrivalRate {
        &self.arrivals
    }

    /// The tokenizers.
    pub(crate) fn tokenizing(&self) -> &Arc<Tokenizing> {
        &self.tokenizing
    }

    /// The keys of clients, if requests need one.
    pub(crate) fn client_keys(&self) -> Option<&Arc<KeyRing>> {
        self.client_keys.as_ref()
    }

    /// Clients' listeners serve the endpoints of workers too, by this door. Only the first one counts.
    pub(crate) fn open_worker_door(&self, door: WorkerDoor) {
        let _ = self.worker_door.set(door);
    }

    /// The door to the workers, if clients' listeners have one.
    pub(crate) fn worker_door(&self) -> Option<&WorkerDoor> {
        self.worker_door.get()
    }

    /// Readiness tells of these sources too. Only the first ones count.
    pub(crate) fn tell_of_sources(&self, sources: SourceReports) {
        let _ = self.sources.set(sources);
    }

    /// The sources of workers beside the configuration and operators.
    pub(crate) fn sources(&self) -> Vec<SourceReport> {
        self.sources.get().map(SourceReports::now).unwrap_or_default()
    }

    /// Each request has a line in this log from now on. Only the first one counts.
    pub(crate) fn open_access_log(&self, log: Arc<AccessLog>) {
        let _ = self.access_log.set(log);
    }

    /// The access log, if there is one.
    pub(crate) fn access_log(&self) -> Option<&Arc<AccessLog>> {
        self.access_log.get()
    }

    /// Requests are traced from now on. Only the first one counts.
    pub(crate) fn start_traces(&self, tracer: Tracer) {
        let _ = self.tracer.set(tracer);
    }

    /// Who traces requests, if anybody does.
    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.tracer.get()
    }

    /// True if requests are told of when they are over.
    pub(crate) fn watches(&self) -> bool {
        self.access_log.get().is_some() || self.tracer.get().is_some()
    }

    /// Who made which response, if that is remembered.
    pub(crate) fn response_homes(&self) -> Option<&Arc<ResponseHomes>> {
        self.response_homes.as_ref()
    }

    /// True once the router was told to stop: it is not ready any more.
    pub fn is_stopping(&self) -> bool {
        // Relaxed: a flag that orders nothing else.
        self.stopping.load(Ordering::Relaxed)
    }

    /// Why the router is not ready, for programs and for people: it is stopping, or no worker is well and not
    /// draining, nor one of each half of a pair. Workers that are merely full are well.
    pub(crate) fn unreadiness(&self, snapshot: &Snapshot) -> Option<(&'static str, String)> {
        if self.is_stopping() {
            return Some(("stopping", "the router is stopping".to_owned()));
        }
        let shortage = (!snapshot.is_ready()).then(|| Shortage::of_fleet(snapshot, Route::Chat))?;
        Some((shortage.as_str(), shortage.to_string()))
    }

    /// From now on the router says that it is not ready.
    pub fn stop(&self) {
        // Relaxed: see `is_stopping`.
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn register_ratios(ratios: Arc<TokenRatios>, metrics: &Metrics) {
    metrics.register(move |families| {
        let family = families.family(&catalogue::MODEL_BYTES_PER_TOKEN);
        for (model, ratio) in ratios.learnt() {
            family.gauge(&[model], f64::from(ratio));
        }
    });
}
