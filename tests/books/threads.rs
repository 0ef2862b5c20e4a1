//! Threads against each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use sglang_router_rs::core::{BookEntry, Column, Fleet, InFlight, KeptBooks, WorkerSpec};

use crate::columns::{SUMS, alone, assert_zero, bits, floats, ints};

const WORKERS: usize = 4;
const THREADS: u64 = 4;
const TURNS: usize = 20_000;

/// Requests that come and go at random, and the books that somebody opens and closes meanwhile.
fn turn(fleet: &Fleet, random: &mut Rng, ones: &mut Vec<InFlight>, kept: &mut Option<KeptBooks>) {
    match random.u32(0..100) {
        0 => *kept = None,
        1 => *kept = Some(KeptBooks::new()),
        2..40 if ones.len() < 50 => {
            let table = fleet.load();
            let entry = BookEntry {
                prompt_tokens: random.u32(0..5000),
                prefill_tokens: random.u32(0..5000),
                uncached_tokens: random.u32(0..5000),
                cost: if random.bool() { 0.0 } else { random.f32() * 1000.0 },
            };
            let worker = random.usize(0..WORKERS);
            let mut one = InFlight::on_fleet_with(&table.workers()[worker], || entry);
            if random.bool() {
                one.sent(Instant::now());
            }
            ones.push(one);
        }
        _ if ones.is_empty() => {}
        action => {
            let at = random.usize(0..ones.len());
            let one = &mut ones[at];
            match action {
                2..50 => one.first_token(Instant::now()),
                50..60 => one.begun(),
                60..75 => one.generated(random.u32(0..20)),
                75..80 => one.sent(Instant::now()),
                _ => drop(ones.swap_remove(at)),
            }
        }
    }
}

#[test]
fn books_are_zero_when_all_requests_of_all_threads_have_ended() {
    let _alone = alone();
    let fleet = Fleet::new();
    (0..WORKERS).for_each(|worker| drop(fleet.add(WorkerSpec::new(format!("http://w{worker}")), true)));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let table = fleet.table();
                for column in SUMS.into_iter().filter(|column| *column != Column::PendingCost) {
                    let found = ints(&*table, column);
                    assert!(found.iter().all(|number| *number >= 0), "{}: {found:?}", column.name());
                }
                let costs = floats(&*table, Column::PendingCost);
                assert!(costs.iter().all(|cost| (0.0..1e6).contains(cost)), "{costs:?}");
                assert!(ints(&*table, Column::OldestPendingMs).iter().all(|age| *age >= -1));
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|seed| {
                let fleet = &fleet;
                scope.spawn(move || {
                    let (mut random, mut ones, mut kept) = (Rng::with_seed(seed), Vec::new(), None);
                    (0..TURNS).for_each(|_| turn(fleet, &mut random, &mut ones, &mut kept));
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_zero(&fleet.table());
}

#[test]
fn cost_column_is_the_sum_of_what_is_pending_whoever_wrote_it_last() {
    let _alone = alone();
    let _kept = KeptBooks::new();
    let fleet = Fleet::new();
    let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
    let entry = BookEntry { cost: 1.0, ..BookEntry::default() };
    for round in 0..200 {
        let held: Vec<InFlight> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut ones: Vec<_> =
                            (0..20).map(|_| InFlight::on_fleet_with(&worker, || entry)).collect();
                        ones.truncate(7);
                        ones
                    })
                })
                .collect();
            threads.into_iter().flat_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(floats(&*fleet.table(), Column::PendingCost), [21.0], "round {round}");
        drop(held);
        assert_eq!(bits(&*fleet.table(), Column::PendingCost), [0], "round {round}");
    }
}

#[test]
fn cost_column_is_right_whenever_two_have_written_it_at_once() {
    const ROUNDS: usize = 100_000;
    let _alone = alone();
    let _kept = KeptBooks::new();
    let fleet = Fleet::new();
    let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
    let entry = BookEntry { cost: 1.0, ..BookEntry::default() };
    // Both go on when both are there.
    let arrived = AtomicUsize::new(0);
    let meet = |times: usize| {
        arrived.fetch_add(1, Ordering::SeqCst);
        for spins in 0_u32.. {
            if arrived.load(Ordering::SeqCst) >= 2 * times {
                return;
            }
            if spins > 200 { thread::yield_now() } else { std::hint::spin_loop() }
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            for round in 0..ROUNDS {
                meet(3 * round + 1);
                let one = InFlight::on_fleet_with(&worker, || entry);
                meet(3 * round + 2);
                meet(3 * round + 3);
                drop(one);
            }
        });
        // Told at the end: the other would wait for ever.
        let mut wrong = Vec::new();
        for round in 0..ROUNDS {
            meet(3 * round + 1);
            let one = InFlight::on_fleet_with(&worker, || entry);
            meet(3 * round + 2);
            let found = floats(&*fleet.table(), Column::PendingCost);
            if found != [2.0] {
                wrong.push((round, found));
            }
            meet(3 * round + 3);
            drop(one);
        }
        other.join().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
    assert_zero(&fleet.table());
}
