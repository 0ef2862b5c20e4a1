//! Places requests that another proxy carries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Response, request};
use tokio::time::timeout_at;

use crate::metrics::Metrics;
use crate::proxy::answering::{begin_record, note_prefix, read_view, wanted};
use crate::proxy::asking::Asking;
use crate::proxy::carried::carried_counts::CarriedCounts;
use crate::proxy::carried::carried_request::{CarriedProgress, CarriedRequest};
use crate::proxy::carried::worker_addresses::WorkerAddresses;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::form::Form;
use crate::proxy::head::Head;
use crate::proxy::headers::{Headers, tell_record};
use crate::proxy::inbound::Inbound;
use crate::proxy::placement::Placement;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::request_course::RequestCourse;
use crate::proxy::request_view::RequestView;
use crate::proxy::route::Route;
use crate::proxy::shape::Shape;
use crate::proxy::shortage::Shortage;
use crate::proxy::single::Single;
use crate::proxy::snapshot::Snapshot;
use crate::records::Draft;
use sgl_api::End;
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{DecideError, PolicyHandle, SelectWorkerInfo};
use sglang_router_rs::types::WorkerSet;

/// How long the policy, and what it needs to know, may take. The native policy decides then.
const PLACE_WITHIN: Duration = Duration::from_millis(40);

/// Places requests that another proxy carries, by the policy that places all others.
///
/// # Concurrency
///
/// The addresses are those of some snapshot; who finds them out of date makes new ones. Two may do so at the
/// same time, for the same result.
#[derive(Debug)]
pub(crate) struct CarriedPlacer {
    proxy: Arc<DataPlane>,
    /// Decides where the policy is too late.
    native: PolicyHandle,
    /// How many other workers are named beside the chosen one.
    fallbacks: usize,
    addresses: ArcSwap<WorkerAddresses>,
    counts: Arc<CarriedCounts>,
}

/// A request that is to be placed.
#[derive(Debug)]
pub(crate) struct PlaceOrder<'a> {
    /// Its head.
    pub(crate) head: request::Parts,
    /// As much of its body as is there, which has room.
    pub(crate) body: Bytes,
    /// Whether more of it comes.
    pub(crate) is_cut: bool,
    /// When its head came.
    pub(crate) started: Instant,
    /// The addresses of the only workers that may serve it; `None` = all.
    pub(crate) allowed: Option<&'a [String]>,
}

impl CarriedPlacer {
    /// A placer over this data plane, which names so many workers beside the chosen one.
    pub(crate) fn new(
        proxy: Arc<DataPlane>,
        native: PolicyHandle,
        fallbacks: usize,
        metrics: &Metrics,
    ) -> Self {
        let counts = Arc::new(CarriedCounts::default());
        counts.register(metrics);
        let addresses = ArcSwap::from_pointee(WorkerAddresses::of(proxy.backends().snapshot()));
        Self { proxy, native, fallbacks, addresses, counts }
    }

    /// The data plane.
    pub(crate) fn proxy(&self) -> &Arc<DataPlane> {
        &self.proxy
    }

    /// True if something of the body of a request to this path is to be known before it can be placed.
    pub(crate) fn wants_body(&self, path: &str) -> bool {
        let proxy = &self.proxy;
        let (snapshot, route) = (proxy.backends().snapshot(), carried_route(path));
        let wants = |policy: &PolicyHandle| wanted(proxy, policy, &snapshot, route).anything();
        wants(&proxy.placing().policy()) || proxy.placing().trial().is_some_and(|trial| wants(&trial.policy))
    }

    /// Places a request.
    ///
    /// # Errors
    ///
    /// What the client is to be told if nobody may serve it, or if the policy refuses it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future places nothing.
    pub(crate) async fn place(&self, order: PlaceOrder<'_>) -> Result<Box<CarriedRequest>, Response<Bytes>> {
        let PlaceOrder { head, body, is_cut, started, allowed } = order;
        let route = carried_route(head.uri.path());
        let head = Head::carried(head);
        let inbound = Inbound {
            route,
            head,
            body,
            // Whoever carries the request has taken room for its body.
            held: self.proxy.pressure().body(),
            key: None,
            started,
            waits_until: None,
            waited: Duration::ZERO,
        };
        if is_cut {
            self.counts.cut();
        }
        let mut told = HeaderMap::new();
        self.admit(inbound, allowed, &mut told).await.map_err(|error| {
            let measures = self.proxy.measures();
            measures.refused(error.code());
            measures.finished(route, started.elapsed());
            error.shortage().into_iter().for_each(|shortage| measures.unplaced(shortage));
            let mut response = error.response(Some(route));
            measures.answered(route, response.status().as_u16());
            response.headers_mut().extend(told);
            response
        })
    }

    async fn admit(
        &self,
        inbound: Inbound,
        allowed: Option<&[String]>,
        told: &mut HeaderMap,
    ) -> Result<Box<CarriedRequest>, ProxyError> {
        let proxy = &self.proxy;
        let turn = match proxy.queue().limit() {
            // Nobody waits here: whoever carries the request could not be answered in time.
            Some(limit) => Some(limit.admit_now().ok_or(ProxyError::QueueFull)?),
            None => None,
        };
        let mut course = RequestCourse::new(proxy, &inbound);
        let mut record = begin_record(proxy, &inbound, course.policy.handle());
        let addresses = self.addresses_of(&course.snapshot);
        match self.decide(&inbound, allowed, &addresses, &mut course, &mut record).await {
            Ok((placement, destination)) => {
                let mut headers = HeaderMap::new();
                if let Some(rank) = placement.target().rank() {
                    rank.write(&mut headers);
                }
                Ok(Box::new(CarriedRequest {
                    proxy: Arc::clone(proxy),
                    counts: Arc::clone(&self.counts),
                    placement,
                    addresses,
                    record,
                    route: inbound.route,
                    started: inbound.started,
                    destination,
                    headers,
                    progress: CarriedProgress::Unanswered,
                    _turn: turn,
                }))
            }
            Err(error) => {
                if let Some(record) = record {
                    tell_record(&record, told);
                    record.end(End::NoAnswer, Some(error.to_string()));
                }
                Err(error)
            }
        }
    }

    async fn decide(
        &self,
        inbound: &Inbound,
        allowed: Option<&[String]>,
        addresses: &WorkerAddresses,
        course: &mut RequestCourse,
        record: &mut Option<Box<Draft>>,
    ) -> Result<(Placement, String), ProxyError> {
        let proxy = &self.proxy;
        let until = tokio::time::Instant::now() + PLACE_WITHIN;
        let snapshot = Arc::clone(&course.snapshot);
        let table = snapshot.table();
        let view = self.read(course, inbound, until).await;
        let headers = Headers(&inbound.head.headers);
        let info = view.info(&headers, inbound);
        course.arrival_rate = info.arrival_rate;
        course.shape = Some(Shape::Single);
        course.seek(proxy, inbound, view.facts.previous_response.as_deref());
        loop {
            let candidates = candidates(course, addresses, info.model, allowed)?;
            let given =
                SelectWorkerInfo { excluded: course.tried.workers(), eligible: candidates.as_ref(), ..info };
            let asking = Asking::begin(&course.policy, record.as_deref(), table, &given);
            let given = SelectWorkerInfo { explanation: asking.explanation(), ..given };
            let policy = course.policy.handle();
            let decided = match timeout_at(until, Single::decide(policy, table, &given)).await {
                Ok(decided) => decided,
                Err(_) => {
                    self.counts.late();
                    self.native.decide(table, &given)
                }
            };
            asking.end::<Single<'_>>(record.as_deref_mut(), table, &decided);
            let decision = match decided {
                Ok(decision) => decision,
                // Once: who is full is asked then all the same, for an answer of its own.
                Err(DecideError::NoWorker) if course.tried.finds_all_full(&snapshot, candidates.as_ref()) => {
                    continue;
                }
                Err(error) => return Err(course.refusal(&error, Shape::Single, candidates.as_ref())),
            };
            let chosen = Single::chosen(&decision);
            let Some(placement) = course.tried.place(&snapshot, decision, &course.policy)? else { continue };
            note_prefix(proxy, course.policy.handle(), table, &info, chosen);
            let destination = self.destination(addresses, chosen.decode, candidates.as_ref());
            return Ok((placement, destination));
        }
    }

    /// What the policy needs to know. Where it takes too long the policy knows only the head, unless models
    /// matter: to guess one would be to misroute the request.
    async fn read<'a>(
        &'a self,
        course: &RequestCourse,
        inbound: &'a Inbound,
        until: tokio::time::Instant,
    ) -> RequestView<'a> {
        let reading = read_view(&self.proxy, course, inbound);
        if course.snapshot.routes_by_model() {
            return reading.await;
        }
        match timeout_at(until, reading).await {
            Ok(view) => view,
            Err(_) => {
                self.counts.late();
                RequestView::default()
            }
        }
    }

    /// The addresses of the workers of this snapshot.
    fn addresses_of(&self, snapshot: &Arc<Snapshot>) -> Arc<WorkerAddresses> {
        let known = self.addresses.load();
        if Arc::ptr_eq(known.snapshot(), snapshot) {
            return Arc::clone(&known);
        }
        let new = Arc::new(WorkerAddresses::of(Arc::clone(snapshot)));
        self.addresses.store(Arc::clone(&new));
        new
    }

    /// The address of the chosen worker, and those of the others with the fewest requests.
    fn destination(
        &self,
        addresses: &WorkerAddresses,
        chosen: usize,
        candidates: Option<&WorkerSet>,
    ) -> String {
        let own = addresses.text(chosen).unwrap_or_default();
        let mut destination = own.to_owned();
        if self.fallbacks == 0 {
            return destination;
        }
        let targets = addresses.snapshot().targets().iter().enumerate();
        let role = addresses.snapshot().target(chosen).map(|target| target.worker().role());
        let others = targets.filter(|(index, target)| {
            candidates.is_none_or(|set| set.contains(*index))
                && target.worker().is_healthy()
                && Some(target.worker().role()) == role
        });
        let mut others: Vec<(usize, &str)> = others
            .filter_map(|(index, target)| Some((target.worker().load(), addresses.text(index)?)))
            .collect();
        others.sort_unstable();
        let mut named = vec![own];
        for (_, address) in others {
            if named.len() > self.fallbacks {
                break;
            }
            if !named.contains(&address) {
                named.push(address);
                destination.push(',');
                destination.push_str(address);
            }
        }
        destination
    }
}

/// The workers that may serve a request; `None` = all.
fn candidates(
    course: &RequestCourse,
    addresses: &WorkerAddresses,
    model: Option<&str>,
    allowed: Option<&[String]>,
) -> Result<Option<WorkerSet>, ProxyError> {
    let of_model = course.snapshot.eligible(Shape::Single, model)?;
    let home = course.only_home();
    if allowed.is_none() && addresses.are_complete() {
        return Ok(home.or_else(|| of_model.cloned()));
    }
    let named: Option<WorkerSet> =
        allowed.map(|all| all.iter().flat_map(|address| addresses.places(address)).copied().collect());
    let may = |index: &usize| {
        addresses.text(*index).is_some()
            && home.as_ref().or(of_model).is_none_or(|set| set.contains(*index))
            && named.as_ref().is_none_or(|set| set.contains(*index))
    };
    let found: WorkerSet = (0..course.snapshot.targets().len()).filter(may).collect();
    if allowed.is_some() && found.is_empty() {
        return Err(ProxyError::NoWorker(Shortage::NoneInSubset));
    }
    Ok(Some(found))
}

/// The endpoint of a path. What the router would answer itself goes to a worker here.
fn carried_route(path: &str) -> Route {
    Route::of(path).filter(|route| Route::MEASURED.contains(route)).unwrap_or(Route::Listed)
}
