//! Roles and zones of the worker table.

use alloc::vec::Vec;

use sgl_policy_sdk::Table;
use sgl_policy_sdk::abi::WorkerRole;

/// A worker as the policy keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Its index in the table.
    pub(crate) index: usize,
    /// The number of its zone.
    pub(crate) zone: usize,
}

/// The table by role, with zones as numbers, so that decisions compare no texts and
/// look at no worker that cannot serve them.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) regular: Vec<Member>,
    pub(crate) prefill: Vec<Member>,
    pub(crate) decode: Vec<Member>,
    /// Number of zones.
    pub(crate) zones: usize,
}

impl Fleet {
    /// Workers without the label are in one zone of their own.
    pub(crate) fn new(table: &Table, zone_label: &str) -> Self {
        let mut fleet = Self::default();
        let mut zones: Vec<Option<&str>> = Vec::new();
        for (index, worker) in table.iter().enumerate() {
            let name = worker.labels.get(zone_label);
            let zone = zones.iter().position(|known| *known == name).unwrap_or_else(|| {
                zones.push(name);
                zones.len() - 1
            });
            fleet.of_mut(worker.role).push(Member { index, zone });
        }
        fleet.zones = zones.len();
        fleet
    }

    fn of_mut(&mut self, role: WorkerRole) -> &mut Vec<Member> {
        match role {
            WorkerRole::Regular => &mut self.regular,
            WorkerRole::Prefill => &mut self.prefill,
            WorkerRole::Decode => &mut self.decode,
        }
    }
}
