//! Threads against each other, over what has no locks or more than one.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::plugin::BreakerOptions;
use crate::core::{CandidateWorkers, Column, Fleet, InFlight, WorkerSpec};
use crate::engine::background::block_on;
use crate::engine::pool::idle::{Idle, full_barrier};
use crate::engine::pool::waiters::Waiters;
use crate::policies::wasm::state::breaker::Breaker;

/// Turns of each thread: Miri is some thousand times slower.
const TURNS: usize = if cfg!(miri) { 20 } else { 20_000 };

#[test]
fn tables_are_whole_while_the_fleet_changes() {
    let fleet = Fleet::new();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (fleet, over) = (&fleet, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let table = fleet.load();
                    let mut loads = vec![0; table.len() * Column::WIDTH];
                    table.fill(Column::Load, &mut loads);
                    let mut bits = vec![0; table.len().div_ceil(8)];
                    table.fill_healthy(&mut bits);
                    if let Some(worker) = table.get(reader % table.len().max(1)) {
                        let _in_flight = InFlight::on_fleet(worker);
                        assert!(worker.spec().url.starts_with("http://"));
                    }
                }
            });
        }
        for turn in 0..TURNS {
            let url = format!("http://w{}", turn % 20);
            if fleet.add(WorkerSpec::new(&url), turn % 3 == 0).is_err() {
                fleet.drain(&url);
                fleet.remove(&url);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    for index in 0..fleet.table().len() {
        assert_eq!(fleet.table().load(index), 0);
    }
}

/// The protocol of the engine's pool without its instances: a release puts a thing among the idle
/// ones and then looks for callers that wait; a caller joins the queue and then tries.
struct Shelf {
    idle: Idle<u64>,
    waiters: Waiters<Lease>,
}

/// Puts its thing back when it is dropped.
struct Lease {
    thing: Option<Box<u64>>,
    shelf: Arc<Shelf>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(thing) = self.thing.take() {
            put_back(&self.shelf, thing);
        }
    }
}

fn find(shelf: &Arc<Shelf>) -> Option<Lease> {
    let thing = shelf.idle.take()?;
    Some(Lease { thing: Some(thing), shelf: Arc::clone(shelf) })
}

fn put_back(shelf: &Arc<Shelf>, thing: Box<u64>) {
    assert!(shelf.idle.put(thing).is_none(), "there is room for all");
    full_barrier();
    if shelf.waiters.count() > 0 {
        shelf.waiters.serve(|| find(shelf));
    }
}

fn take(shelf: &Arc<Shelf>) -> Lease {
    if let Some(lease) = find(shelf) {
        return lease;
    }
    let mut place = shelf.waiters.join().expect("as many places as threads");
    full_barrier();
    let far = Instant::now() + Duration::from_secs(3600);
    let served = poll_fn(|context| place.poll(context, || find(shelf)));
    block_on(served, far).flatten().expect("never dismissed")
}

#[test]
#[cfg_attr(miri, ignore = "crossbeam's cell keeps a box as an integer, which Miri does not follow")]
fn caller_that_waits_and_thing_that_is_put_back_always_meet() {
    const THREADS: usize = 4;
    const THINGS: usize = 2;
    let shelf = Arc::new(Shelf { idle: Idle::new(THINGS), waiters: Waiters::new(THREADS) });
    (0..THINGS as u64).for_each(|thing| put_back(&shelf, Box::new(thing)));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..TURNS).for_each(|_| drop(take(&shelf))));
        }
    });
    let left: Vec<Lease> = std::iter::from_fn(|| find(&shelf)).collect();
    assert_eq!(left.len(), THINGS, "none is lost, and none is there twice");
    // Else each would be put back into the shelf that it keeps alive.
    left.into_iter().for_each(|mut lease| drop(lease.thing.take()));
}

#[test]
fn breaker_is_closed_by_a_probe_whoever_else_fails() {
    let options =
        BreakerOptions { failures: 3, backoff_ms: 1, max_backoff_ms: 1, ..BreakerOptions::default() };
    let breaker = Breaker::new(options);
    thread::scope(|scope| {
        for thread in 0..3 {
            let breaker = &breaker;
            scope.spawn(move || {
                for turn in 0..TURNS {
                    let Some(pass) = breaker.admit() else { continue };
                    if (turn + thread) % 3 == 0 {
                        pass.succeed();
                    } else {
                        pass.fail(Duration::ZERO);
                    }
                }
            });
        }
    });
    while breaker.is_open() {
        if let Some(probe) = breaker.admit() {
            probe.succeed();
        }
    }
}
