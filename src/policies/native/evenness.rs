//! Tests that every built-in policy is even over the workers that may be chosen, whichever these are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::core::candidate_workers::{CandidateWorkers, TableVersion};
use crate::core::fleet::Fleet;
use crate::core::table::WorkerTable;
use crate::core::worker::{BasicWorker, Worker, WorkerSpec};
use crate::policies::load_balancing::LoadBalancingPolicy;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::types::worker_set::WorkerSet;
use sgl_policy_abi::{Column, WorkerRole};

const WORKERS: usize = 4;

fn table_of(roles: &[WorkerRole]) -> Arc<WorkerTable> {
    let fleet = Fleet::new();
    for (index, role) in roles.iter().enumerate() {
        fleet.add(WorkerSpec { role: *role, ..WorkerSpec::new(format!("http://w{index}")) }, true).unwrap();
    }
    fleet.table()
}

fn regular(count: usize) -> Arc<WorkerTable> {
    table_of(&vec![WorkerRole::Regular; count])
}

fn members(mask: usize) -> WorkerSet {
    (0..usize::BITS as usize).filter(|index| mask >> index & 1 == 1).collect()
}

fn set_health(table: &WorkerTable, mask: usize) {
    for (index, worker) in table.workers().iter().enumerate() {
        worker.set_healthy(mask >> index & 1 == 1);
    }
}

/// Asserts that `counts` are even over the members of `open`: exactly for turns, within six standard
/// deviations for chance, and within half for a ring of 128 points a worker.
fn assert_even(name: &str, counts: &[usize], open: usize, case: &str) {
    let sent: usize = counts.iter().sum();
    let sharers = open.count_ones();
    for (index, count) in counts.iter().enumerate() {
        if open >> index & 1 == 0 {
            assert_eq!(*count, 0, "{name} chose {index}, which may not be chosen: {case}: {counts:?}");
            continue;
        }
        let expected = sent as f64 / f64::from(sharers);
        let allowed = match name {
            "round_robin" => 1.0,
            "consistent_hash" => expected * 0.5,
            _ => 6.0 * (expected * (1.0 - 1.0 / f64::from(sharers))).sqrt(),
        };
        let off = (*count as f64 - expected).abs();
        assert!(
            off <= allowed,
            "{name}: worker {index} is off by {off:.0} of {expected:.0}: {case}: {counts:?}"
        );
    }
}

/// Sends requests for the sets in turn, and asserts that each set's requests spread evenly.
fn alternate(name: &str, table: &WorkerTable, healthy: usize, sets: &[usize], rounds: usize) {
    let policy = NativePolicy::by_name(name).unwrap();
    set_health(table, healthy);
    let eligible: Vec<WorkerSet> = sets.iter().map(|mask| members(*mask)).collect();
    let mut counts = vec![[0; WORKERS]; sets.len()];
    for round in 0..rounds {
        for (set, counts) in eligible.iter().zip(&mut counts) {
            let key = round.to_string();
            let info = SelectWorkerInfo {
                eligible: Some(set),
                request_key: Some(&key),
                ..SelectWorkerInfo::default()
            };
            if let Some(index) = policy.choose(table, &info) {
                counts[index] += 1;
            }
        }
    }
    for (set, counts) in sets.iter().zip(&counts) {
        let open = set & healthy;
        assert_eq!(counts.iter().sum::<usize>(), if open == 0 { 0 } else { rounds });
        assert_even(name, counts, open, &format!("healthy {healthy:04b}, sets {sets:?} in turn"));
    }
}

#[test]
fn every_policy_is_even_over_every_pattern_of_health_and_models() {
    fastrand::seed(1);
    let table = regular(WORKERS);
    let all = 1 << WORKERS;
    for name in NativePolicy::NAMES {
        for healthy in 0..all {
            for first in 0..all {
                alternate(name, &table, healthy, &[first], 200);
            }
            // Models that share no worker, one after the other: the worst case of a shared turn.
            for first in 1..all - 1 {
                alternate(name, &table, healthy, &[first, all - 1 - first], 200);
            }
        }
        alternate(name, &table, all - 1, &[0b0011, 0b1100, 0b1111, 0b0101], 200);
    }
}

#[test]
fn every_policy_is_even_over_every_pattern_of_roles() {
    fastrand::seed(2);
    for pattern in 0..1 << WORKERS {
        let role = |index| if pattern >> index & 1 == 1 { WorkerRole::Prefill } else { WorkerRole::Decode };
        let table = table_of(&(0..WORKERS).map(role).collect::<Vec<_>>());
        let all = (1 << WORKERS) - 1;
        for (name, healthy) in NativePolicy::NAMES.iter().flat_map(|name| (0..=all).map(move |h| (name, h))) {
            let policy = NativePolicy::by_name(name).unwrap();
            set_health(&table, healthy);
            let (mut prefill, mut decode) = ([0; WORKERS], [0; WORKERS]);
            for round in 0..200 {
                let key = round.to_string();
                let info = SelectWorkerInfo { request_key: Some(&key), ..SelectWorkerInfo::default() };
                if let Some((first, second)) = policy.choose_pair(&*table, &info) {
                    prefill[first] += 1;
                    decode[second] += 1;
                }
            }
            let case = format!("prefill {pattern:04b}, healthy {healthy:04b}");
            let (first, second) = (pattern & healthy, !pattern & healthy);
            let sent = if first == 0 || second == 0 { 0 } else { 200 };
            assert_eq!((prefill.iter().sum::<usize>(), decode.iter().sum()), (sent, sent), "{name}: {case}");
            if sent > 0 {
                assert_even(name, &prefill, first, &case);
                assert_even(name, &decode, second, &case);
            }
        }
    }
}

#[test]
fn every_policy_is_even_over_slices_that_alternate() {
    fastrand::seed(3);
    let worker = |index| -> Arc<dyn Worker> {
        Arc::new(BasicWorker::new(WorkerSpec::new(format!("http://w{index}"))))
    };
    let (first, second): (Vec<_>, Vec<_>) = ((0..2).map(worker).collect(), (2..5).map(worker).collect());
    for name in NativePolicy::NAMES {
        let policy = NativePolicy::by_name(name).unwrap();
        let mut counts = [[0; 3]; 2];
        for round in 0..600 {
            let key = round.to_string();
            let info = SelectWorkerInfo { request_key: Some(&key), ..SelectWorkerInfo::default() };
            for (slice, counts) in [&first, &second].into_iter().zip(&mut counts) {
                counts[policy.select_worker(slice, &info).unwrap()] += 1;
            }
        }
        assert_even(name, &counts[0], 0b011, "first slice");
        assert_even(name, &counts[1], 0b111, "second slice");
    }
}

#[test]
fn worker_that_comes_back_gets_its_share_and_no_more() {
    let table = regular(WORKERS);
    let policy = NativePolicy::by_name("round_robin").unwrap();
    let send = |requests: usize| {
        let mut counts = [0; WORKERS];
        for _ in 0..requests {
            counts[policy.choose(&*table, &SelectWorkerInfo::default()).unwrap()] += 1;
        }
        counts
    };
    set_health(&table, 0b1101);
    assert_even("round_robin", &send(301), 0b1101, "one is down");
    set_health(&table, 0b1111);
    assert_even("round_robin", &send(41), 0b1111, "it is back");
    set_health(&table, 0b0001);
    assert_even("round_robin", &send(10), 0b0001, "one is left");
}

#[test]
fn tried_workers_are_passed_over_and_the_others_stay_even() {
    let table = regular(WORKERS);
    let policy = NativePolicy::by_name("round_robin").unwrap();
    let mut counts = [0; WORKERS];
    for _ in 0..300 {
        let excluded = members(0b0100);
        let info = SelectWorkerInfo { excluded: Some(&excluded), ..SelectWorkerInfo::default() };
        counts[policy.choose(&*table, &info).unwrap()] += 1;
    }
    assert_even("round_robin", &counts, 0b1011, "one was tried");
}

/// A table over which others decide too: whenever a decision looks at a worker, the lowest bit of
/// `script` says whether another decision is made first, which is interrupted in the same way. So a test
/// chooses what threads leave to chance: who is overtaken by whom between its look and its claim.
struct Overtaken<'a> {
    table: &'a WorkerTable,
    policy: NativePolicy,
    script: AtomicU64,
    counts: [AtomicUsize; WORKERS],
}

impl<'a> Overtaken<'a> {
    fn new(table: &'a WorkerTable, script: u64) -> Self {
        let policy = NativePolicy::by_name("round_robin").unwrap();
        Self { table, policy, script: AtomicU64::new(script), counts: Default::default() }
    }

    fn decide(&self) {
        let index = self.policy.choose(self, &SelectWorkerInfo::default()).unwrap();
        self.counts[index].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> [usize; WORKERS] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl CandidateWorkers for Overtaken<'_> {
    fn version(&self) -> TableVersion {
        self.table.version()
    }

    fn is_fleet(&self) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn worker(&self, index: usize) -> Option<&dyn Worker> {
        self.table.worker(index)
    }

    fn is_healthy(&self, index: usize) -> bool {
        let script = self.script.load(Ordering::Relaxed);
        self.script.store(script >> 1, Ordering::Relaxed);
        if script & 1 == 1 {
            self.decide();
        }
        self.table.is_healthy(index)
    }

    fn load(&self, index: usize) -> usize {
        self.table.load(index)
    }

    fn fill(&self, column: Column, out: &mut [u8]) {
        self.table.fill(column, out);
    }

    fn fill_healthy(&self, out: &mut [u8]) {
        self.table.fill_healthy(out);
    }
}

#[test]
fn turns_are_even_however_those_that_take_them_at_once_overtake_each_other() {
    let table = regular(WORKERS);
    // Fewer than the attempts after which a decision takes what it found.
    const LOOKS: u32 = 10;
    for healthy in 1..1 << WORKERS {
        set_health(&table, healthy);
        for script in 0..1 << LOOKS {
            let case = format!("healthy {healthy:04b}, overtaken {script:010b}");
            let overtaken = Overtaken::new(&table, script);
            for _ in 0..12 {
                overtaken.decide();
                assert_even("round_robin", &overtaken.counts(), healthy, &case);
            }
        }
    }
}

#[test]
fn decision_that_is_overtaken_again_and_again_takes_what_it_found() {
    let table = regular(WORKERS);
    // Overtaken at each look, by a decision that looks once and is not.
    let overtaken = Overtaken::new(&table, 0x5555_5555_5555_5555);
    overtaken.decide();
    assert_ne!(overtaken.script.load(Ordering::Relaxed), 0, "{:?}", overtaken.counts());
}

#[test]
fn more_lists_than_there_are_turns_for_still_share_evenly() {
    fastrand::seed(4);
    let table = regular(9);
    let policy = NativePolicy::by_name("round_robin").unwrap();
    let mut counts = [0_usize; 9];
    for _ in 0..20 {
        for mask in 1..1 << 9 {
            let eligible = members(mask);
            let info = SelectWorkerInfo { eligible: Some(&eligible), ..SelectWorkerInfo::default() };
            counts[policy.choose(&*table, &info).unwrap()] += 1;
        }
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least * 10 > *most * 7, "{counts:?}");
}

#[test]
fn equally_loaded_workers_share_evenly_wherever_they_are() {
    fastrand::seed(5);
    let table = regular(WORKERS);
    let policy = NativePolicy::by_name("least_load").unwrap();
    for busy in 0..(1 << WORKERS) - 1 {
        let only = |index| [index].into_iter().collect::<WorkerSet>();
        let held: Vec<_> = (0..WORKERS)
            .filter(|index| busy >> index & 1 == 1)
            .map(|index| {
                let eligible = only(index);
                let info = SelectWorkerInfo { eligible: Some(&eligible), ..SelectWorkerInfo::default() };
                policy.decide(&table, &info).unwrap()
            })
            .collect();
        let mut counts = [0; WORKERS];
        for _ in 0..2000 {
            counts[policy.choose(&*table, &SelectWorkerInfo::default()).unwrap()] += 1;
        }
        assert_even("least_load", &counts, !busy & 0b1111, &format!("busy {busy:04b}"));
        drop(held);
    }
}
