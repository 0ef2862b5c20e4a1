//! The built-in policies as one type: by name, in both forms.

use std::sync::Arc;

use crate::core::candidate_workers::{CandidateWorkers, SliceCandidates};
use crate::core::slice_versions::SliceVersions;
use crate::core::table::WorkerTable;
use crate::core::worker::Worker;
use crate::policies::decision::{Chooser, DecideError, Decision, PairDecision};
use crate::policies::fleet_needs::FleetNeeds;
use crate::policies::load_balancing::LoadBalancingPolicy;
use crate::policies::native::consistent_hash::ConsistentHash;
use crate::policies::native::least_load::LeastLoad;
use crate::policies::native::power_of_two::PowerOfTwo;
use crate::policies::native::random::Random;
use crate::policies::native::round_robin::RoundRobin;
use crate::policies::select_worker_info::{RequestNeeds, SelectWorkerInfo};
use crate::types::future::BoxFuture;
use crate::types::worker_set::WorkerSet;
use sgl_policy_abi::{Leg, WorkerRole};

/// A built-in policy.
#[derive(Debug)]
pub struct NativePolicy {
    kind: NativeKind,
    slices: SliceVersions,
}

#[derive(Debug)]
enum NativeKind {
    Random(Random),
    RoundRobin(RoundRobin),
    PowerOfTwo(PowerOfTwo),
    LeastLoad(LeastLoad),
    ConsistentHash(ConsistentHash),
}

/// A name, and what it makes.
type NamedKind = (&'static str, fn() -> NativeKind);

/// Each with its name.
const KINDS: [NamedKind; 5] = [
    ("random", || NativeKind::Random(Random)),
    ("round_robin", || NativeKind::RoundRobin(RoundRobin::default())),
    ("power_of_two", || NativeKind::PowerOfTwo(PowerOfTwo)),
    ("least_load", || NativeKind::LeastLoad(LeastLoad)),
    ("consistent_hash", || NativeKind::ConsistentHash(ConsistentHash::default())),
];

/// `round_robin`.
impl Default for NativePolicy {
    fn default() -> Self {
        Self { kind: NativeKind::RoundRobin(RoundRobin::default()), slices: SliceVersions::default() }
    }
}

impl NativePolicy {
    /// The names of all built-in policies.
    pub const NAMES: [&'static str; KINDS.len()] = {
        let [a, b, c, d, e] = KINDS;
        [a.0, b.0, c.0, d.0, e.0]
    };

    /// The built-in policy of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        let (_, kind) = KINDS.into_iter().find(|(known, _)| *known == name)?;
        Some(Self { kind: kind(), slices: SliceVersions::default() })
    }

    /// The index of a worker, or `None` if none may be chosen. Counts nothing in flight.
    #[inline]
    pub fn choose<C: CandidateWorkers>(&self, workers: &C, info: &SelectWorkerInfo<'_>) -> Option<usize> {
        match &self.kind {
            NativeKind::Random(policy) => policy.choose(workers, info),
            NativeKind::RoundRobin(policy) => policy.choose(workers, info),
            NativeKind::PowerOfTwo(policy) => policy.choose(workers, info),
            NativeKind::LeastLoad(policy) => policy.choose(workers, info),
            NativeKind::ConsistentHash(policy) => policy.choose(workers, info),
        }
    }

    /// A prefill and a decode worker of one list, each chosen by itself among those of its role.
    pub(crate) fn choose_pair<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)> {
        let pick = |role, leg| {
            let eligible = with_role(workers, info, role);
            self.choose(workers, &SelectWorkerInfo { leg, eligible: Some(&eligible), ..*info })
        };
        Some((pick(WorkerRole::Prefill, Leg::Prefill)?, pick(WorkerRole::Decode, Leg::Decode)?))
    }

    /// A counted decision over the router's table, attributed to `chooser`.
    #[inline]
    pub(crate) fn decide_as(
        &self,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
        chooser: Chooser,
    ) -> Result<Decision, DecideError> {
        let index = self.choose(table, info).ok_or(DecideError::NoWorker)?;
        Decision::on_fleet(table, index.into(), chooser, info)
    }

    /// A counted pair over the router's table, attributed to `chooser`.
    pub(crate) fn decide_pair_as(
        &self,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
        chooser: Chooser,
    ) -> Result<PairDecision, DecideError> {
        let (prefill, decode) = self.choose_pair(table, info).ok_or(DecideError::NoWorker)?;
        PairDecision::on_fleet(table, (prefill.into(), decode.into()), chooser, info)
    }
}

/// The workers of a role that the request admits.
pub(crate) fn with_role<C: CandidateWorkers>(
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    role: WorkerRole,
) -> WorkerSet {
    (0..workers.len())
        .filter(|index| workers.role(*index) == role)
        .filter(|index| info.admits(*index))
        .collect()
}

impl LoadBalancingPolicy for NativePolicy {
    fn name(&self) -> &str {
        match &self.kind {
            NativeKind::Random(_) => "random",
            NativeKind::RoundRobin(_) => "round_robin",
            NativeKind::PowerOfTwo(_) => "power_of_two",
            NativeKind::LeastLoad(_) => "least_load",
            NativeKind::ConsistentHash(_) => "consistent_hash",
        }
    }

    fn needs(&self) -> RequestNeeds {
        RequestNeeds { text: matches!(self.kind, NativeKind::ConsistentHash(_)), ..RequestNeeds::default() }
    }

    fn fleet_needs(&self) -> FleetNeeds {
        FleetNeeds::default()
    }

    fn select_worker(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<usize> {
        self.choose(&SliceCandidates::new(self.slices.version(workers), workers), info)
    }

    fn select_worker_async<'a>(
        &'a self,
        workers: &'a [Arc<dyn Worker>],
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        let index = self.select_worker(workers, info).ok_or(DecideError::NoWorker);
        let decision =
            index.and_then(|index| Decision::on_slice(workers, index.into(), Chooser::Native, info));
        Box::pin(std::future::ready(decision))
    }

    fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> {
        self.decide_as(table, info, Chooser::Native)
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
        prefill: &[Arc<dyn Worker>],
        decode: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)> {
        let both = [prefill, decode].concat();
        let version = self.slices.pair_version(&both, prefill.len());
        let (first, second) =
            self.choose_pair(&SliceCandidates::pair(version, &both, prefill.len()), info)?;
        Some((first, second.checked_sub(prefill.len())?))
    }

    fn decide_pair_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>> {
        Box::pin(std::future::ready(self.decide_pair_as(table, info, Chooser::Native)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fleet::Fleet;
    use crate::core::in_flight::InFlight;
    use crate::core::worker::WorkerSpec;

    fn fleet(count: usize) -> Fleet {
        let fleet = Fleet::new();
        for i in 0..count {
            fleet.add(WorkerSpec::new(format!("http://w{i}")), true).unwrap();
        }
        fleet
    }

    #[test]
    fn name_makes_a_policy_of_that_name() {
        for name in NativePolicy::NAMES {
            assert_eq!(NativePolicy::by_name(name).unwrap().name(), name);
        }
        assert!(NativePolicy::by_name("weighted_random").is_none());
    }

    #[test]
    fn every_policy_keeps_off_unhealthy_excluded_and_ineligible_workers() {
        let table = fleet(6).table();
        table.workers()[0].set_healthy(false);
        let excluded: WorkerSet = [1].into_iter().collect();
        let eligible: WorkerSet = [0, 1, 2, 4].into_iter().collect();
        let info = SelectWorkerInfo {
            request_text: Some("hello"),
            excluded: Some(&excluded),
            eligible: Some(&eligible),
            ..SelectWorkerInfo::default()
        };
        for name in NativePolicy::NAMES {
            let policy = NativePolicy::by_name(name).unwrap();
            for _ in 0..200 {
                let index = policy.choose(&*table, &info).unwrap();
                assert!([2, 4].contains(&index), "{name} chose {index}");
            }
        }
    }

    #[test]
    fn no_policy_chooses_when_nobody_may_be_chosen() {
        let table = fleet(3).table();
        table.workers().iter().for_each(|worker| worker.set_healthy(false));
        for name in NativePolicy::NAMES {
            let policy = NativePolicy::by_name(name).unwrap();
            let error = policy.decide(&table, &SelectWorkerInfo::default()).unwrap_err();
            assert_eq!(error, DecideError::NoWorker, "{name}");
            assert!(policy.decide(&fleet(0).table(), &SelectWorkerInfo::default()).is_err(), "{name}");
        }
    }

    #[test]
    fn round_robin_takes_turns() {
        let table = fleet(3).table();
        let policy = NativePolicy::by_name("round_robin").unwrap();
        let info = SelectWorkerInfo::default();
        let order: Vec<usize> = (0..6).map(|_| policy.decide(&table, &info).unwrap().index()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn least_load_sees_the_decisions_that_are_still_held() {
        let table = fleet(4).table();
        let policy = NativePolicy::by_name("least_load").unwrap();
        let held: Vec<Decision> =
            (0..8).map(|_| policy.decide(&table, &SelectWorkerInfo::default()).unwrap()).collect();
        assert!(table.workers().iter().all(|worker| worker.load() == 2));
        drop(held);
        assert!(table.workers().iter().all(|worker| worker.load() == 0));
    }

    #[test]
    fn power_of_two_avoids_the_loaded_one_of_two() {
        let table = fleet(2).table();
        let busy = InFlight::on_fleet(&table.workers()[0]);
        let policy = NativePolicy::by_name("power_of_two").unwrap();
        let chosen: Vec<usize> =
            (0..100).map(|_| policy.choose(&*table, &SelectWorkerInfo::default()).unwrap()).collect();
        // In 32 rounds, both draws fall on worker 0 five times in a row once.
        assert!(chosen.iter().filter(|index| **index == 1).count() > 80, "{chosen:?}");
        drop(busy);
    }

    #[test]
    fn consistent_hash_keeps_most_keys_when_a_worker_goes() {
        let fleet = fleet(10);
        let policy = NativePolicy::by_name("consistent_hash").unwrap();
        let place = |table: &WorkerTable| -> Vec<String> {
            (0..1000)
                .map(|key| {
                    let text = format!("key {key}");
                    let info = SelectWorkerInfo { request_text: Some(&text), ..SelectWorkerInfo::default() };
                    table.workers()[policy.decide(table, &info).unwrap().index()].url().to_owned()
                })
                .collect()
        };
        let before = place(&fleet.table());
        fleet.remove("http://w3").unwrap();
        let after = place(&fleet.table());
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
        let lost = before.iter().filter(|url| *url == "http://w3").count();
        assert_eq!(moved, lost, "only the keys of the worker that went may move");
        assert!((50..200).contains(&lost), "about a tenth of the keys: {lost}");
    }

    #[test]
    fn pair_takes_each_worker_from_its_role() {
        let fleet = Fleet::new();
        for (i, role) in
            [WorkerRole::Prefill, WorkerRole::Decode, WorkerRole::Prefill].into_iter().enumerate()
        {
            fleet.add(WorkerSpec { role, ..WorkerSpec::new(format!("http://w{i}")) }, true).unwrap();
        }
        let policy = NativePolicy::by_name("random").unwrap();
        let table = fleet.table();
        for _ in 0..50 {
            let pair = policy.decide_pair_as(&table, &SelectWorkerInfo::default(), Chooser::Native).unwrap();
            assert_eq!(table.role(pair.prefill.index()), WorkerRole::Prefill);
            assert_eq!(table.role(pair.decode.index()), WorkerRole::Decode);
        }
    }
}
