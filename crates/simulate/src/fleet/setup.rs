//! What a fleet is like, and what is expected of it.

use std::collections::BTreeMap;

use crate::engine::{EngineModel, EnginePart, ReportedLoad, WorkerEvent, WorkerEventKind};
use crate::workload::Workload;
use sglang_router_rs::policies::PluginOptions;

/// The label that says in which zone a worker is.
const ZONE_LABEL: &str = "zone";

/// A fleet of engines, and the router's settings that matter to policies.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSetup {
    /// The engine of each worker.
    pub model: EngineModel,
    /// The speed of each worker: 0.5 takes twice as long for everything.
    pub speeds: Vec<f64>,
    /// The labels of each worker; those that there are none of here have none. Default: none has any.
    pub labels: Vec<BTreeMap<String, String>>,
    /// Seconds between two reports of a worker, as `--load-interval-ms` of the router. Default: 1.
    pub report_interval: f64,
    /// Tokens of a block of the router's prefix index. Default: 16.
    pub block_tokens: u32,
    /// Blocks of a prompt that the router hashes at most. Default: 4096.
    pub max_blocks: usize,
    /// After how many waits in a row no other request that waits is asked, as the option `reasks` of a plugin.
    /// Default: 8.
    pub reasks: u32,
    /// Requests that the policy may have wait, as `--queue-size` of the router. Default: 100.
    pub queue_size: usize,
    /// Seconds that one may wait, as `--queue-timeout-secs`. Default: 60.
    pub queue_timeout: f64,
    /// Bytes that the router's prefix index takes at most. Default: 256 MiB.
    pub index_bytes: usize,
    /// What befalls workers, besides what the model says. Default: nothing.
    pub events: Vec<WorkerEvent>,
    /// Seconds between two checks of a worker's health, as of the router. Default: 10.
    pub health_interval: f64,
    /// How often a request is tried again at most, as by the router. Default: 5.
    pub max_retries: u32,
}

/// Why there can be no such fleet.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no worker.
    #[error("a fleet has one worker at least")]
    NoWorker,
    /// Blocks of the engines would be larger than what is known of prompts.
    #[error("block_tokens is {found}; allowed: 1 to {most}, since the workload says no more of its prompts")]
    LargeBlocks {
        /// Tokens of an engine's block.
        found: u32,
        /// Tokens of a unit of the workload.
        most: u32,
    },
    /// The pairs have other workers than there are.
    #[error("[pairs] has {pairs} workers, and there are {workers}")]
    Pairs {
        /// Workers that the model has.
        pairs: usize,
        /// Workers of the fleet.
        workers: usize,
    },
    /// Something befalls a worker that there is not, or in a way that cannot be.
    #[error("an event at {at} s: {fault}")]
    Event {
        /// When.
        at: f64,
        /// What is wrong.
        fault: &'static str,
    },
}

impl FleetSetup {
    /// So many equal workers with the defaults of the router.
    pub fn new(model: EngineModel, workers: usize) -> Self {
        Self {
            model,
            speeds: vec![1.0; workers],
            labels: Vec::new(),
            report_interval: 1.0,
            block_tokens: 16,
            max_blocks: 4096,
            reasks: PluginOptions::DEFAULT_REASKS,
            queue_size: 100,
            queue_timeout: 60.0,
            index_bytes: 256 << 20,
            events: Vec::new(),
            health_interval: 10.0,
            max_retries: 5,
        }
    }

    /// All that befalls workers, by time.
    pub(crate) fn all_events(&self) -> Vec<&WorkerEvent> {
        let mut all: Vec<&WorkerEvent> = self.model.events.iter().chain(&self.events).collect();
        all.sort_by(|one, other| one.at.total_cmp(&other.at));
        all
    }

    /// Candidates of policies: the ranks of the workers, those of one worker beside each other.
    pub fn candidates(&self) -> usize {
        self.speeds.len() * self.model.ranks as usize
    }

    /// The worker of a candidate, and its rank if it is one of several.
    pub(crate) fn worker_of(&self, candidate: usize) -> (usize, Option<u32>) {
        let ranks = self.model.ranks.max(1) as usize;
        let rank = u32::try_from(candidate % ranks).unwrap_or_default();
        (candidate / ranks, (ranks > 1).then_some(rank))
    }

    /// The candidates of a worker.
    pub(crate) fn candidates_of(&self, worker: u32) -> std::ops::Range<u32> {
        let ranks = self.model.ranks.max(1);
        worker * ranks..(worker + 1) * ranks
    }

    /// The part of requests that a worker serves.
    pub(crate) fn part_of(&self, worker: usize) -> EnginePart {
        match self.model.pairs {
            None => EnginePart::Whole,
            Some(pairs) if worker < pairs.prefill as usize => EnginePart::Prefill,
            Some(_) => EnginePart::Decode,
        }
    }

    /// True of candidates in different zones, by their workers' labels.
    pub(crate) fn are_apart(&self, one: u32, other: u32) -> bool {
        let zone = |candidate: u32| {
            let (worker, _) = self.worker_of(candidate as usize);
            self.labels.get(worker).and_then(|labels| labels.get(ZONE_LABEL))
        };
        zone(one) != zone(other)
    }

    /// True if a worker joins the fleet only later.
    pub(crate) fn joins_later(&self, worker: usize) -> bool {
        let is_its = |event: &&WorkerEvent| event.workers.iter().any(|number| *number as usize == worker);
        self.all_events().into_iter().find(is_its).is_some_and(|event| event.what == WorkerEventKind::Join)
    }

    /// Checks that such a fleet can serve this workload.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn check(&self, workload: &Workload) -> Result<(), SetupError> {
        let (found, most) = (self.model.block_tokens, workload.unit_tokens());
        if self.speeds.is_empty() {
            Err(SetupError::NoWorker)
        } else if found > most {
            Err(SetupError::LargeBlocks { found, most })
        } else if let Some(pairs) =
            self.model.pairs.filter(|pairs| (pairs.prefill + pairs.decode) as usize != self.speeds.len())
        {
            let pairs = (pairs.prefill + pairs.decode) as usize;
            Err(SetupError::Pairs { pairs, workers: self.speeds.len() })
        } else if let Some((event, fault)) = self.all_events().into_iter().find_map(|event| {
            let is_none = event.workers.iter().any(|number| *number as usize >= self.speeds.len());
            let fault = event.fault().or(is_none.then_some("workers: there is no worker with such a number"));
            fault.map(|fault| (event, fault))
        }) {
            Err(SetupError::Event { at: event.at, fault })
        } else {
            Ok(())
        }
    }

    /// True if workers say something of their load.
    pub(crate) fn reports(&self) -> bool {
        self.model.reports != ReportedLoad::None && self.report_interval > 0.0
    }
}
