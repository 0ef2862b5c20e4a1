//! Decisions per second on one thread and on two, each with a table of its own and over one table
//! that both share.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo};

use crate::stage;
use crate::stage::Length;

pub(crate) fn run(length: Length) {
    let (rounds, time) = length.rounds(Duration::from_millis(700));
    let factory = PolicyFactory::new();
    let policy = stage::runtime().block_on(stage::load(&factory, "threads", PluginOptions::default()));
    println!("{rounds} rounds of {time:?} each, decisions a second");
    println!("{:<34}{:>12}{:>12}{:>8}", "", "1 thread", "2 threads", "ratio");
    for (workers, shared) in [(8, false), (8, true), (64, false), (64, true), (1000, true)] {
        let (first, second) = (stage::fleet(workers), stage::fleet(workers));
        let (first, second) = (first.table(), second.table());
        let second = if shared { &first } else { &second };
        let mut ratios = Vec::new();
        let (mut alone, mut both) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let one = rate(&policy, &[&first], time);
            let two = rate(&policy, &[&first, second], time);
            ratios.push(two / one);
            alone.push(one);
            both.push(two);
        }
        let of = if shared { "one table" } else { "a table each" };
        let (alone, both, ratio) = (stage::median(alone), stage::median(both), stage::median(ratios));
        println!("{:<34}{alone:>12.0}{both:>12.0}{ratio:>8.2}", format!("{workers} workers, {of}"));
    }
}

/// Decisions a second, by one thread for each table together.
fn rate(policy: &PolicyHandle, tables: &[&WorkerTable], time: Duration) -> f64 {
    let (done, start) = (AtomicBool::new(false), Barrier::new(tables.len() + 1));
    thread::scope(|scope| {
        let deciders: Vec<_> = tables
            .iter()
            .map(|table| {
                scope.spawn(|| {
                    start.wait();
                    decide(policy, table, &done)
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        thread::sleep(time);
        done.store(true, Ordering::Relaxed);
        let took = began.elapsed();
        let decisions: u32 = deciders.into_iter().map(|decider| decider.join().expect("it decides")).sum();
        f64::from(decisions) / took.as_secs_f64()
    })
}

fn decide(policy: &PolicyHandle, table: &WorkerTable, done: &AtomicBool) -> u32 {
    let info = SelectWorkerInfo::default();
    let mut decisions = 0;
    while !done.load(Ordering::Relaxed) {
        for _ in 0..100 {
            policy.decide(table, &info).expect("a decision");
        }
        decisions += 100;
    }
    decisions
}
