//! Decisions between marks, for tools that look at a process from outside: scripts/decision_trace.sh
//! counts their system calls, and steps through one to see what it writes.
//!
//! Two threads, one after the other, decide over one table in each form.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use sglang_router_rs::config::LaneOption;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo};

use crate::stage;
use crate::stage::Length;

/// Forms in the order of their numbers.
const FORMS: [&str; 3] = ["sync", "async-adaptive", "async-fiber"];

/// Decisions whose system calls are counted.
const MANY: usize = 10_000;

pub(crate) fn run(_length: Length) {
    let factory = PolicyFactory::new();
    let runtime = stage::runtime();
    let options = |lane| PluginOptions { lane, ..PluginOptions::default() };
    let adaptive = runtime.block_on(stage::load(&factory, "adaptive", options(LaneOption::Adaptive)));
    let fiber = runtime.block_on(stage::load(&factory, "fiber", options(LaneOption::Fiber)));
    let fleet = stage::fleet(8);
    let table = fleet.table();
    let decide_all = || {
        decide(0, || drop(fiber.decide(&table, &SelectWorkerInfo::default())));
        decide(1, || waiting(&adaptive, &table));
        decide(2, || waiting(&fiber, &table));
    };
    let (first_is_done, second_is_done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        // One after the other, but both are there to the end: what a thread has of its own, the next
        // one would inherit.
        scope.spawn(|| {
            decide_all();
            first_is_done.wait();
            second_is_done.wait();
        });
        scope.spawn(|| {
            first_is_done.wait();
            decide_all();
            second_is_done.wait();
        });
    });
}

/// An asynchronous decision, driven by a runtime that does nothing else.
fn waiting(policy: &PolicyHandle, table: &WorkerTable) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let info = SelectWorkerInfo::default();
    let mut decision = std::pin::pin!(policy.decide_async(table, &info));
    // It waits only where a tick ends meanwhile.
    while black_box(decision.as_mut().poll(&mut context)).is_pending() {}
}

fn decide(form: usize, one: impl Fn()) {
    // Not a multiple of sixteen: the next one is not timed, since a clock cannot be read in steps.
    (0..2001).for_each(|_| one());
    trace_begin(form);
    one();
    trace_end(form);
    let name = FORMS.get(form).expect("a form");
    mark(&format!("begin-{name}"));
    (0..MANY).for_each(|_| one());
    mark(&format!("end-{name}"));
}

/// A system call that can be recognised.
fn mark(name: &str) {
    assert!(!std::path::Path::new(&format!("/sgl-router-trace/{name}")).exists(), "nobody has this");
}

/// Where a debugger stops.
#[inline(never)]
#[expect(unsafe_code, reason = "an unmangled name, for a debugger")]
#[unsafe(no_mangle)]
extern "C" fn trace_begin(form: usize) {
    black_box(form);
}

/// Where it stops again.
#[inline(never)]
#[expect(unsafe_code, reason = "as above")]
#[unsafe(no_mangle)]
extern "C" fn trace_end(form: usize) {
    // Not the same as the other one, or the linker makes them one.
    black_box((form, MANY));
}
