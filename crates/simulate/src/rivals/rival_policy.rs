//! A policy of another router as one of this router's.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::rivals::catalog::rival;
use crate::rivals::engine_views::EngineViews;
use crate::rivals::rival::{Rival, RivalAsk, SeenWorker};
use sglang_router_rs::core::{InFlight, Worker, WorkerTable};
use sglang_router_rs::policies::{
    Chooser, DecideError, Decision, LoadBalancingPolicy, OutcomeNeeds, PairDecision, RequestCompletion,
    RequestFirstToken, RequestNeeds, SelectWorkerInfo, Ticket,
};
use sglang_router_rs::types::BoxFuture;

/// A policy of another router, which decides over the router's own table only.
#[derive(Debug)]
pub(crate) struct RivalPolicy {
    name: String,
    views: Arc<EngineViews>,
    asked: Mutex<AskedRival>,
}

/// The policy and how often it was asked.
#[derive(Debug)]
struct AskedRival {
    rival: Box<dyn Rival>,
    count: u64,
    workers: Vec<SeenWorker>,
    /// The places of these in the table.
    places: Vec<usize>,
}

impl RivalPolicy {
    /// The policy of that name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let rival = rival(name)?;
        let views = Arc::new(EngineViews::new(rival.sight()));
        let asked = Mutex::new(AskedRival { rival, count: 0, workers: Vec::new(), places: Vec::new() });
        Some(Self { name: name.to_owned(), views, asked })
    }

    /// What it sees of engines, for who shows them.
    pub(crate) fn views(&self) -> Arc<EngineViews> {
        Arc::clone(&self.views)
    }
}

impl LoadBalancingPolicy for RivalPolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> RequestNeeds {
        RequestNeeds { prompt_tokens: true, prefix_hashes: true, ..RequestNeeds::default() }
    }

    /// Nobody: it is no policy for a router.
    fn select_worker(&self, _workers: &[Arc<dyn Worker>], _info: &SelectWorkerInfo<'_>) -> Option<usize> {
        None
    }

    fn select_worker_async<'a>(
        &'a self,
        _workers: &'a [Arc<dyn Worker>],
        _info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        Box::pin(std::future::ready(Err(DecideError::NoWorker)))
    }

    fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> {
        let asked = &mut *self.asked.lock();
        asked.workers.clear();
        asked.places.clear();
        for (place, worker) in table.workers().iter().enumerate() {
            if worker.is_healthy() && info.admits(place) {
                let requests = u32::try_from(worker.load()).unwrap_or(u32::MAX);
                let kv_tokens = worker.spec().engine.kv_capacity_tokens.unwrap_or_default();
                let seen = SeenWorker { requests, kv_tokens, ..SeenWorker::default() };
                asked.workers.push(self.views.complete(place, seen));
                asked.places.push(place);
            }
        }
        asked.count += 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number of tokens"
        )]
        let block_tokens = (info.block_tokens() as u32).max(1);
        let ask = RivalAsk {
            tag: asked.count,
            tokens: info.prompt_tokens.map_or(0, |tokens| tokens.count),
            blocks: info.prefix_hashes.unwrap_or_default(),
            block_tokens,
            workers: &asked.workers,
        };
        let chosen = asked.rival.choose(&ask).ok_or(DecideError::NoWorker)?;
        let at = asked.workers.iter().position(|seen| seen.worker == chosen);
        let place = at.and_then(|at| asked.places.get(at)).copied().ok_or(DecideError::NoWorker)?;
        let worker = table.get(place).ok_or(DecideError::NoWorker)?;
        let ticket = Ticket::new(Some(ask.tag), 0.0);
        Ok(Decision::new(place, InFlight::on_fleet(worker), Chooser::Native).with_ticket(ticket))
    }

    fn decide_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        Box::pin(std::future::ready(self.decide(table, info)))
    }

    fn select_worker_pair(
        &self,
        _prefill: &[Arc<dyn Worker>],
        _decode: &[Arc<dyn Worker>],
        _info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)> {
        None
    }

    fn decide_pair_async<'a>(
        &'a self,
        _table: &'a WorkerTable,
        _info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>> {
        Box::pin(std::future::ready(Err(DecideError::NoWorker)))
    }

    fn outcome_needs(&self) -> OutcomeNeeds {
        OutcomeNeeds { first_tokens: true, completions: true, ..OutcomeNeeds::default() }
    }

    fn on_first_token(&self, first: &RequestFirstToken) {
        if let Some(tag) = first.tag {
            self.asked.lock().rival.first_token(tag, first.after.as_secs_f64());
        }
    }

    fn on_request_complete(&self, completion: &RequestCompletion) {
        if let Some(tag) = completion.tag {
            self.asked.lock().rival.finished(tag);
        }
    }
}
