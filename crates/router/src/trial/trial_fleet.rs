//! The workers that a plugin decides over.

use std::sync::Arc;

use crate::config::near_names::nearest;
use crate::trial::described_request::WorkerName;
use crate::trial::described_worker::DescribedWorker;
use crate::trial::offered_workers::OfferedWorkers;
use crate::trial::prepared_request::PreparedRequest;
use sglang_router_rs::core::{BasicWorker, Worker, WorkerRole};
use sglang_router_rs::policies::Leg;
use sglang_router_rs::types::WorkerSet;

/// The workers that a plugin decides over, in the order of its table.
#[derive(Debug, Default)]
pub(crate) struct TrialFleet {
    workers: Vec<Arc<BasicWorker>>,
    /// The same, as policies take them.
    offered: Vec<Arc<dyn Worker>>,
    /// True if some worker is said to hold a part of prompts.
    some_prefix: bool,
}

impl TrialFleet {
    /// These workers.
    pub(crate) fn new(described: &[DescribedWorker]) -> Self {
        let mut fleet = Self::default();
        described.iter().for_each(|worker| fleet.add(worker));
        fleet
    }

    /// Adds a worker at the end.
    pub(crate) fn add(&mut self, described: &DescribedWorker) {
        let worker = Arc::new(described.made(self.workers.len()));
        self.some_prefix |= described.prefix_match.is_some();
        self.offered.push(Arc::clone(&worker) as Arc<dyn Worker>);
        self.workers.push(worker);
    }

    /// Takes a worker out; those behind it move up.
    pub(crate) fn remove(&mut self, place: usize) {
        if place < self.workers.len() {
            self.workers.remove(place);
            self.offered.remove(place);
        }
    }

    /// The last worker comes first, and each other one place later.
    pub(crate) fn turn(&mut self) {
        if !self.workers.is_empty() {
            self.workers.rotate_right(1);
            self.offered.rotate_right(1);
        }
    }

    /// Has a worker show other numbers.
    pub(crate) fn show(&mut self, place: usize, described: &DescribedWorker) {
        if let Some(worker) = self.workers.get(place) {
            self.some_prefix |= described.prefix_match.is_some();
            described.show(worker);
        }
    }

    /// The workers, as policies take them.
    pub(crate) fn workers(&self) -> &[Arc<dyn Worker>] {
        &self.offered
    }

    /// The URL of a worker; empty beyond the end.
    pub(crate) fn url(&self, place: usize) -> &str {
        self.workers.get(place).map_or("", |worker| worker.url())
    }

    /// The place of a worker.
    ///
    /// # Errors
    ///
    /// There is none of that name; the nearest are told.
    pub(crate) fn place(&self, name: &WorkerName) -> Result<usize, String> {
        let count = self.workers.len();
        match name {
            WorkerName::Place(place) if *place < count => Ok(*place),
            WorkerName::Place(place) => {
                Err(format!("there is no worker {place}; the fleet has {count}, from 0 on"))
            }
            WorkerName::Url(url) => {
                let urls = || self.workers.iter().map(|worker| worker.url());
                urls().position(|known| known == url).ok_or_else(|| {
                    let near = nearest(url, urls());
                    let near = near.first().or(urls().next().as_ref()).map_or(String::new(), |near| {
                        format!("; the fleet has {near}{}", if count > 1 { " and others" } else { "" })
                    });
                    format!("there is no worker {url:?}{near}")
                })
            }
        }
    }

    /// Which workers a request may go to.
    ///
    /// # Errors
    ///
    /// It names a worker that is not there.
    pub(crate) fn offered_to(&self, request: &PreparedRequest) -> Result<OfferedWorkers, String> {
        let tried = &request.described.excluded;
        let places = tried.iter().map(|name| self.place(name).map_err(|fault| format!("excluded: {fault}")));
        let places: Vec<usize> = places.collect::<Result<_, _>>()?;
        let excluded = (!places.is_empty()).then(|| self.set(|place| places.contains(&place)));
        let is_pair = request.described.pair.unwrap_or_else(|| {
            let has = |role| self.workers.iter().any(|worker| worker.role() == role);
            let both = has(WorkerRole::Prefill) && has(WorkerRole::Decode) && !has(WorkerRole::Regular);
            both && request.described.leg.is_none()
        });
        let wanted = match request.leg() {
            Leg::Prefill => Some(WorkerRole::Prefill),
            Leg::Decode => Some(WorkerRole::Decode),
            Leg::Single => None,
        };
        // Where a leg has workers of its own, others do not get it.
        let role = wanted.filter(|role| self.workers.iter().any(|worker| worker.role() == *role));
        let model = request.model();
        let serves = |worker: &BasicWorker| {
            let is_its = |model: &str| {
                let named = worker.engine().models.as_ref();
                let listed = named.is_some_and(|names| names.as_slice().iter().any(|name| name == model));
                listed || worker.model_id().is_none_or(|own| own == model)
            };
            role.is_none_or(|role| worker.role() == role) && model.is_none_or(is_its)
        };
        let all = self.workers.iter().all(|worker| serves(worker));
        let eligible =
            (!all).then(|| self.set(|place| self.workers.get(place).is_some_and(|one| serves(one))));
        Ok(OfferedWorkers { excluded, eligible, some_prefix: self.some_prefix, is_pair })
    }

    /// True if somebody may be chosen of those who are offered: of a pair, both halves.
    pub(crate) fn has_open(&self, offered: &OfferedWorkers) -> bool {
        let is_open = |place: usize, worker: &BasicWorker| {
            worker.is_healthy()
                && !offered.excluded.as_ref().is_some_and(|set| set.contains(place))
                && offered.eligible.as_ref().is_none_or(|set| set.contains(place))
        };
        let open = |role: Option<WorkerRole>| {
            let mut all = self.workers.iter().enumerate();
            all.any(|(place, worker)| role.is_none_or(|role| worker.role() == role) && is_open(place, worker))
        };
        if offered.is_pair {
            open(Some(WorkerRole::Prefill)) && open(Some(WorkerRole::Decode))
        } else {
            open(None)
        }
    }

    fn set(&self, holds: impl Fn(usize) -> bool) -> WorkerSet {
        let mut set = WorkerSet::with_capacity(self.workers.len());
        (0..self.workers.len()).filter(|place| holds(*place)).for_each(|place| set.insert(place));
        set
    }
}
