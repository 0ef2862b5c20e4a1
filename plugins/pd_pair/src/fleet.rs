//! Roles and zones of the worker table, and scratch space per zone.

use alloc::vec;
use alloc::vec::Vec;

use sgl_policy_sdk::Rng;
use sgl_policy_sdk::Table;
use sgl_policy_sdk::abi::Role;

use crate::draw::Best;

/// What the policy keeps of the table, so that decisions compare numbers, not texts.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    workers: Vec<(Role, usize)>,
    /// The cheapest decode worker of each zone, during one decision.
    bests: Vec<Best<usize>>,
}

impl Fleet {
    /// Workers without the label are in one zone of their own.
    pub(crate) fn new(table: &Table, zone_label: &str) -> Self {
        let mut zones: Vec<Option<&str>> = Vec::new();
        let mut workers = Vec::with_capacity(table.len());
        for worker in table.iter() {
            let zone = worker.labels.get(zone_label);
            let number = zones.iter().position(|known| *known == zone).unwrap_or_else(|| {
                zones.push(zone);
                zones.len() - 1
            });
            workers.push((worker.role, number));
        }
        Self { workers, bests: vec![Best::NONE; zones.len()] }
    }

    pub(crate) fn role(&self, index: usize) -> Option<Role> {
        self.workers.get(index).map(|(role, _)| *role)
    }

    pub(crate) fn clear_bests(&mut self) {
        self.bests.fill(Best::NONE);
    }

    /// Offers a decode worker to its zone.
    pub(crate) fn offer(&mut self, cost: f64, index: usize, rng: &mut Rng) {
        let zone = self.workers.get(index).map(|(_, zone)| *zone);
        if let Some(best) = zone.and_then(|zone| self.bests.get_mut(zone)) {
            best.offer(cost, index, rng);
        }
    }

    /// The cheapest decode worker in the zone of worker `index`.
    pub(crate) fn best_near(&self, index: usize) -> Option<(f64, usize)> {
        let (_, zone) = self.workers.get(index)?;
        self.bests.get(*zone)?.lowest()
    }
}
