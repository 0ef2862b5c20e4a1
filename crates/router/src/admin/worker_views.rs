//! Workers as operators see them: an engine whose ranks are candidates of their own is one worker with ranks.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admin::worker_id::id_of;
use crate::proxy::Backends;
use crate::proxy::target::Target;
use sgl_api::{CircuitState, EngineView, RankView, RoleCounts, SglangWorker, WorkerList, WorkerView};
use sglang_router_rs::core::{Worker, WorkerReport, WorkerRole};

/// How sglang-router calls workers that are not spoken to over gRPC.
const CONNECTION_MODE: &str = "Http";

/// All workers; each stands where the first of its candidates does.
pub(crate) fn views(backends: &Backends) -> Vec<WorkerView> {
    let snapshot = backends.snapshot();
    let of_workers = by_worker(snapshot.targets());
    of_workers.iter().filter_map(|targets| Some(view(backends, targets.first()?, targets))).collect()
}

/// The same with their number.
pub(crate) fn list(backends: &Backends) -> WorkerList {
    let workers = views(backends);
    let count = |role: WorkerRole| workers.iter().filter(|worker| worker.role == role).count();
    let stats = RoleCounts {
        prefill_count: count(WorkerRole::Prefill),
        decode_count: count(WorkerRole::Decode),
        regular_count: count(WorkerRole::Regular),
    };
    WorkerList { total: workers.len(), stats, workers }
}

/// The candidates of each worker.
fn by_worker(targets: &[Arc<Target>]) -> Vec<Vec<Arc<Target>>> {
    let mut workers: Vec<Vec<Arc<Target>>> = Vec::new();
    let mut ranked = HashMap::new();
    for target in targets {
        let next = workers.len();
        let at = match target.rank_number() {
            None => next,
            Some(_) => *ranked.entry(Arc::as_ptr(target.endpoint())).or_insert(next),
        };
        match workers.get_mut(at) {
            Some(ranks) => ranks.push(Arc::clone(target)),
            None => workers.push(vec![Arc::clone(target)]),
        }
    }
    for ranks in &mut workers {
        ranks.sort_by_key(|target| target.rank_number());
    }
    workers
}

/// One worker as it is now, of all its candidates.
pub(crate) fn view(backends: &Backends, first: &Target, targets: &[Arc<Target>]) -> WorkerView {
    let url = first.endpoint().url().to_string();
    // `None` if it has just been removed.
    let origin = backends.origin(&url);
    let (worker, spec) = (first.worker(), first.worker().spec());
    let is_ranked = first.rank_number().is_some();
    let outcomes: Vec<(u64, u64)> = targets.iter().map(|target| target.outcomes()).collect();
    let is_healthy = targets.iter().any(|target| target.worker().is_healthy());
    WorkerView {
        id: id_of(&url),
        source: origin.as_ref().map(|origin| origin.source.to_string()).unwrap_or_default(),
        drained_by: origin.map(|origin| origin.drained_by()).unwrap_or_default(),
        url,
        role: spec.role,
        model: spec.model.clone(),
        weight: spec.weight,
        labels: spec.labels.clone(),
        bootstrap_port: spec.bootstrap_port,
        healthy: is_healthy,
        passing: first.is_passing(),
        checked: first.is_judged(),
        fault: first.fault(),
        full: targets.iter().all(|target| target.fullness().is_full()),
        draining: worker.is_draining(),
        load: targets.iter().map(|target| target.worker().load()).sum(),
        circuit: circuit(targets),
        succeeded: outcomes.iter().map(|(succeeded, _)| succeeded).sum(),
        failed: outcomes.iter().map(|(_, failed)| failed).sum(),
        report: together(targets).known(),
        engine: engine(targets, first),
        books: worker.book_numbers().filter(|_| !is_ranked),
        ranks: targets.iter().filter_map(|target| rank(target)).collect(),
        sglang: SglangWorker {
            worker_type: spec.role,
            model_id: spec.model.clone(),
            is_healthy,
            connection_mode: CONNECTION_MODE.to_owned(),
        },
        warnings: Vec::new(),
    }
}

fn rank(target: &Target) -> Option<RankView> {
    let worker = target.worker();
    let (succeeded, failed) = target.outcomes();
    Some(RankView {
        rank: target.rank_number()?,
        url: worker.url().to_owned(),
        healthy: worker.is_healthy(),
        full: target.fullness().is_full(),
        load: worker.load(),
        circuit: target.circuit().state(),
        succeeded,
        failed,
        report: worker.report().known(),
        kv_capacity_tokens: worker.engine().kv_capacity_tokens,
        max_running_requests: worker.engine().max_running_requests,
        books: worker.book_numbers(),
    })
}

/// The best of them: requests go through while they go through to one.
fn circuit(targets: &[Arc<Target>]) -> CircuitState {
    let has = |state| targets.iter().any(|target| target.circuit().state() == state);
    let order = [CircuitState::Closed, CircuitState::HalfOpen];
    order.into_iter().find(|state| has(*state)).unwrap_or(CircuitState::Open)
}

fn engine(targets: &[Arc<Target>], first: &Target) -> EngineView {
    let (facts, source) = (first.worker().engine(), first.reports().source());
    let sum = |of: fn(&Target) -> Option<u32>| {
        let all = targets.iter().map(|target| of(target));
        all.sum::<Option<u32>>()
    };
    EngineView {
        setting: first.own().engine.as_str().to_owned(),
        name: facts.name.as_deref().map(str::to_owned),
        version: source.version,
        kv_capacity_tokens: sum(|target| target.worker().engine().kv_capacity_tokens),
        block_size: facts.block_size,
        max_running_requests: sum(|target| target.worker().engine().max_running_requests),
        load_path: source.path.map(str::to_owned),
        models: facts.models.clone().map(Vec::from),
    }
}

/// Counts are added up, shares and times averaged, as far as they are known.
fn together(targets: &[Arc<Target>]) -> WorkerReport {
    let reports: Vec<WorkerReport> = targets.iter().map(|target| target.worker().report()).collect();
    let sum = |of: fn(&WorkerReport) -> i32| {
        let known = reports.iter().map(of).filter(|count| *count >= 0);
        known.reduce(i32::saturating_add).unwrap_or(-1)
    };
    let floats = |of: fn(&WorkerReport) -> f32| {
        let known = reports.iter().map(of).filter(|value| value.is_finite());
        known.map(|value| (value, 1.0)).reduce(|(a, n), (b, m)| (a + b, n + m))
    };
    let mean = |of| floats(of).map_or(f32::NAN, |(sum, count): (f32, f32)| sum / count);
    WorkerReport {
        running: sum(|report| report.running),
        waiting: sum(|report| report.waiting),
        queued_tokens: sum(|report| report.queued_tokens),
        kv_usage: mean(|report| report.kv_usage),
        throughput: floats(|report| report.throughput).map_or(f32::NAN, |(sum, _)| sum),
        latency_ewma: mean(|report| report.latency_ewma),
        report_age_ms: reports.iter().map(|report| report.report_age_ms).max().unwrap_or(-1),
        load_elsewhere: sum(|report| report.load_elsewhere),
    }
}
