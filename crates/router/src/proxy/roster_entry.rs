//! What the roster keeps of one worker.

use std::sync::Arc;

use crate::config::checked::OwnSettings;
use crate::proxy::models::Known;
use crate::proxy::rank::RankLayout;
use crate::proxy::target::Target;
use sglang_router_rs::core::{EngineFacts, Fleet, Worker, WorkerSpec};

/// A worker, all of it or its ranks, and what is known of its models.
#[derive(Debug)]
pub(crate) struct RosterEntry {
    /// What the configuration says of it.
    pub(crate) spec: WorkerSpec,
    pub(crate) own: OwnSettings,
    /// All of it, or its ranks, the first first. Never empty.
    pub(crate) targets: Vec<Arc<Target>>,
    pub(crate) layout: Option<RankLayout>,
    pub(crate) known: Known,
}

impl RosterEntry {
    pub(crate) fn first(&self) -> Option<&Arc<Target>> {
        self.targets.first()
    }

    /// The facts of a candidate: those of its worker, at a name of its own if it is a rank.
    pub(crate) fn spec_of(&self, rank: Option<u32>) -> WorkerSpec {
        let url = &self.spec.url;
        // Its own facts come with its first report.
        let first = self.first().map(|target| target.worker().engine().clone()).unwrap_or_default();
        let engine = EngineFacts {
            name: first.name,
            block_size: first.block_size,
            dp_rank: rank,
            models: first.models,
            ..EngineFacts::UNKNOWN
        };
        let url = rank.map_or_else(|| url.clone(), |rank| format!("{url}@{rank}"));
        WorkerSpec { url, engine, ..self.spec.clone() }
    }

    /// Gives each candidate the facts of its engine that follow from those before: a new worker in its place,
    /// and a new table of `fleet`, if they differ. True if some did.
    pub(crate) fn tell(
        &mut self,
        fleet: &Fleet,
        facts: impl Fn(&Target, &EngineFacts) -> EngineFacts,
    ) -> bool {
        let mut is_news = false;
        for target in &mut self.targets {
            let spec = target.worker().spec();
            let engine = facts(target, &spec.engine);
            if spec.engine == engine {
                continue;
            }
            tracing::debug!(worker = spec.url, facts = ?engine, "facts of its engine learnt");
            let spec = WorkerSpec { engine, ..spec.clone() };
            let Some(worker) = fleet.replace(spec) else { continue };
            *target = Arc::new(target.succeeded_by(worker, target.own()));
            is_news = true;
        }
        is_news
    }
}
