//! Traces in a loop: what a plugin and the index keep must not grow with the number of requests. A month of a
//! public trace is `scripts/month.sh`.

use sgl_simulate::engine::EngineModel;
use sgl_simulate::fleet::{FleetSetup, PolicyModule, PolicySource};
use sgl_simulate::report::RunReport;
use sgl_simulate::workload::{GeneratedLoad, Workload};
use sgl_testkit::small_guests::guest;
use sgl_testkit::text::answer;

use crate::sweeps::{plugin, runs};

/// Some sessions, twenty times, over engines whose caches hold a part of them.
fn looped() -> (FleetSetup, Workload) {
    let text = "rate = 1.0\nrequests = 250\nturns = 3\nprompt_tokens = 900\nturn_tokens = 300\noutput_tokens = 40\nthink_secs = 5";
    let once = GeneratedLoad::from_toml(text).unwrap().checked().unwrap().workload(3, 64);
    let model = EngineModel { block_tokens: 64, kv_blocks: 250, ..EngineModel::default() };
    (FleetSetup::new(model, 2), once.repeated(20))
}

fn limited(source: PolicySource) -> PolicySource {
    PolicySource { max_memory_bytes: Some(1 << 20), ..source }
}

/// The most that the index had in this part of the run.
fn most(run: &RunReport, part: std::ops::Range<usize>) -> usize {
    run.index_over_time[part].iter().map(|sample| sample.bytes).max().unwrap()
}

#[test]
fn index_and_plugins_keep_no_more_after_twenty_repetitions_than_after_five() {
    let (setup, workload) = looped();
    for name in ["toll", "prefix_affinity"] {
        for run in runs(&limited(plugin(name)), &setup, &workload, 1) {
            assert_eq!((run.answered, run.fallbacks.len()), (5000, 0), "{name}");
            let samples = run.index_over_time.len();
            assert!((60..70).contains(&samples) && run.index_over_time[samples - 1].blocks > 1000, "{name}");
            let (early, late) = (most(&run, 0..samples / 4), most(&run, samples * 3 / 4..samples));
            assert!(late <= early + early / 8, "{name}: {early} bytes and then {late}");
        }
    }
}

#[test]
fn plugin_that_keeps_something_of_each_request_is_found_by_the_limit_of_its_memory() {
    let (setup, workload) = looped();
    let leak = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    let module = PolicyModule::Bytes(guest(&format!("{leak}{}", answer(16, 1))));
    let run = runs(&limited(PolicySource::module("leak", module)), &setup, &workload, 1).remove(0);
    assert!(run.fallbacks.values().sum::<u64>() > 100, "{:?}", run.fallbacks);
}
