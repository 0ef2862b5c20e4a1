//! Recorded decisions, made again by policies as a router has them.
#![expect(clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

use serde_json::{Value, json};
use sgl_api::RecordLines;
use sgl_policy_abi::Input;
use sgl_simulate::engine::EngineModel;
use sgl_simulate::fleet::{PolicyModule, PolicyShelf, PolicySource};
use sgl_simulate::replay::{Contender, ModuleReport, ReplayPlan, ReplayReport, WhyMissing, replay};
use sgl_testkit::commanded::commanded;
use sgl_testkit::manifest::manifest;
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::answer;

fn shipped(name: &str) -> PolicySource {
    let wasm = sgl_testkit::modules::plugin(name);
    PolicySource::module(name, PolicyModule::Bytes(wasm.to_vec()))
}

fn bytes(name: &str, wasm: Vec<u8>) -> PolicySource {
    PolicySource::module(name, PolicyModule::Bytes(wasm))
}

/// A guest that answers what the host itself asks, and traps otherwise.
fn trapping() -> Vec<u8> {
    commanded("", "(if (i32.ne (local.get $command) (i32.const 9)) (then unreachable))")
}

/// A worker with this load, of which nothing else is known.
fn worker(index: usize, load: usize) -> Value {
    let url = format!("http://w{index}");
    json!({"index": index, "url": url, "role": "regular", "healthy": true, "admitted": true, "load": load})
}

/// A worker that was believed to hold so much of the prompt, and had so much to process.
fn knowing(index: usize, load: usize, held: i32, uncached: i32) -> Value {
    let mut worker = worker(index, load);
    worker["prefix_match"] = held.into();
    worker["books"] = json!({
        "prefill_load": 1, "prefill_tokens": uncached, "uncached_tokens": uncached, "tokens_in_flight": 4000,
        "pending_cost": 0.0});
    worker
}

/// A decision for a prompt of 1000 tokens.
fn decision(candidates: &[Value], chosen: &[usize]) -> Value {
    json!({
        "chooser": "native", "request": {"prompt_tokens": 1000, "prompt_tokens_exact": true, "stream": true},
        "table_version": 1, "workers": candidates.len(), "candidates": candidates, "chosen": chosen,
        "cost_ns": 1})
}

fn record(id: &str, time: u64, decisions: &[Value]) -> Value {
    json!({
        "request_id": id, "time_unix_ms": time, "route": "chat", "policy": "p", "decisions": decisions,
        "outcome": {"end": "complete", "total_ms": 9.0, "first_byte_ms": 120.0, "prompt_tokens": 1000,
            "cached_tokens": 250}})
}

fn replayed(records: &[Value], against: Option<PolicySource>, modules: &[PolicySource]) -> ReplayReport {
    let shelf = PolicyShelf::new().expect("a shelf");
    let contender = |source: &PolicySource| Contender::new(&shelf, source).expect("it loads");
    let plan = ReplayPlan {
        against: against.as_ref().map(contender),
        modules: modules.iter().map(contender).collect(),
        model: EngineModel::default(),
        examples: 2,
    };
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    replay(plan, RecordLines::new(lines.as_bytes()), |_, _| ()).expect("readable")
}

fn reasons(module: &ModuleReport) -> Vec<(&str, u64)> {
    module.reasons.iter().map(|reason| (reason.reason.as_str(), reason.decisions)).collect()
}

#[test]
fn same_policy_decides_alike_and_another_for_what_speaks_for_its_worker() {
    let records: Vec<Value> = (0..10)
        .map(|number| {
            let held = knowing(0, 5, 800, 100);
            record(&format!("r{number}"), number, &[decision(&[held, knowing(1, 2, 0, 100)], &[1])])
        })
        .collect();
    let report = replayed(&records, None, &[PolicySource::native("least_load"), shipped("least_uncached")]);
    assert_eq!((report.records.requests, report.records.decisions, report.records.workers), (10, 10, 2));
    let (same, other) = (&report.modules[0], &report.modules[1]);
    assert_eq!((same.alike, same.agreement, same.reasons.len()), (10, 1.0, 0));
    assert_eq!((other.alike, reasons(other)), (0, vec![("another worker: more prefix_match", 10)]));
    // Bounded, with what speaks for each.
    let examples = &other.reasons[0].examples;
    assert_eq!((examples.len(), examples[0].request_id.as_str()), (2, "r0"));
    let words = |shown: &sgl_simulate::replay::ChoiceShown| {
        let words = shown.speaks.iter().map(|one| format!("{} {} {}", one.signal, one.value, one.other));
        (shown.choice.clone(), words.collect::<Vec<_>>())
    };
    assert_eq!(words(&examples[0].module), ("http://w0".to_owned(), vec!["prefix_match 800 0".to_owned()]));
    assert_eq!(words(&examples[0].reference), ("http://w1".to_owned(), vec!["load 2 5".to_owned()]));
    // Nothing that it declares is missing.
    assert_eq!((other.affected, other.missing.len()), (0, 0));
    assert_eq!((report.reference.figures.hit_rate, other.figures.hit_rate), (Some(0.0), Some(0.8)));
    assert_eq!(
        (report.reference.figures.imbalance, report.reference.measured_hit_rate),
        (Some(2.0), Some(0.25))
    );
    // 800 tokens less to process, at 10,000 a second and some attention.
    let change = other.ttft_change_ms.unwrap();
    assert!((-90.0..-80.0).contains(&change), "{change}");
    assert_eq!(report.reference.measured_ttft_ms.as_ref().unwrap().count, 10);
    assert!(!report.agrees(0.5) && report.agrees(0.0));
}

#[test]
fn policies_may_be_compared_with_each_other() {
    let records = [record("a", 1, &[decision(&[knowing(0, 5, 800, 100), knowing(1, 2, 0, 100)], &[0])])];
    let modules = [PolicySource::native("least_load")];
    let report = replayed(&records, Some(shipped("least_uncached")), &modules);
    assert_eq!((report.reference.name.as_str(), report.modules[0].alike), ("least_uncached", 0));
    assert_eq!(reasons(&report.modules[0]), [("another worker: less load", 1)]);
    assert_eq!(report.reference.figures.hit_rate, Some(0.8));
    let report =
        replayed(&records, Some(PolicySource::native("least_load")), &[bytes("second", guest_choosing(1))]);
    assert_eq!(report.modules[0].alike, 1);
}

#[test]
fn held_shed_and_failed_decisions_are_told_apart() {
    let both = [worker(0, 0), worker(1, 0)];
    let mut held = decision(&both, &[]);
    held["chooser"] = "nobody".into();
    held["wait"] = json!({"key": 1.0, "times": 3});
    let mut shed = decision(&both, &[]);
    shed["shed_retry_after_ms"] = 5.into();
    let records = [record("a", 1, &[held.clone(), decision(&both, &[0])]), record("b", 2, &[shed])];
    let first = bytes("first", guest_choosing(0));
    let report = replayed(&records, None, &[first, bytes("broken", trapping())]);
    let (first, broken) = (&report.modules[0], &report.modules[1]);
    assert_eq!((first.alike, reasons(first)), (1, vec![("placed, not held", 1), ("placed, not shed", 1)]));
    let counts = report.reference.figures.counts;
    assert_eq!((counts.placed, counts.held, counts.shed, counts.nobody), (1, 1, 1, 0));
    // The fallback places what its plugin does not.
    assert_eq!(broken.figures.counts.fallback, 3);
    assert_eq!(broken.reasons[0].reason, "the fallback decided");
    assert!(broken.reasons[0].examples[0].module.failure.is_some());

    // A plugin that has requests wait while workers have something to do.
    let wasm = sgl_testkit::modules::fixture("hold_back").to_vec();
    let busy = [worker(0, 9), worker(1, 9)];
    let mut asked = decision(&busy, &[0]);
    let patient = replayed(&[record("a", 1, &[asked.clone()])], None, &[bytes("patient", wasm.clone())]);
    assert_eq!(reasons(&patient.modules[0]), [("held", 1)]);
    // It may not wait any longer: as in a router, that is a failure.
    asked["request"]["may_wait_ms"] = 0.into();
    let over = replayed(&[record("a", 1, &[asked])], None, &[bytes("patient", wasm)]);
    assert_eq!((over.modules[0].figures.counts.held, over.modules[0].figures.counts.fallback), (0, 1));
}

#[test]
fn inputs_that_records_lack_are_named_with_the_decisions_they_are_missing_at() {
    let blind = decision(&[worker(0, 1), worker(1, 0)], &[1]);
    let seeing = decision(&[knowing(0, 1, 100, 0), knowing(1, 0, 0, 0)], &[1]);
    let mut all = record("c", 3, std::slice::from_ref(&blind));
    all["inputs"] = "all".into();
    let records = [record("a", 1, &[blind]), record("b", 2, &[seeing]), all];
    let report = replayed(&records, None, &[shipped("least_uncached"), shipped("sticky_least_loaded")]);
    let missing = |module: &ModuleReport| -> Vec<(String, u64, WhyMissing)> {
        module.missing.iter().map(|one| (one.input.clone(), one.decisions, one.why)).collect()
    };
    let of = |input: &str, why| (input.to_owned(), 1, why);
    assert_eq!(report.modules[0].affected, 2);
    assert_eq!(
        missing(&report.modules[0]),
        [
            of("uncached_tokens", WhyMissing::NotDeclared),
            of("uncached_tokens", WhyMissing::NotKnown),
            of("prefix_match", WhyMissing::NotDeclared),
            of("prefix_match", WhyMissing::NotKnown),
        ]
    );
    // A request without a session has none where all is recorded.
    let sessions: Vec<_> = missing(&report.modules[1]).into_iter().filter(|one| one.0 == "session").collect();
    assert_eq!(sessions, [("session".to_owned(), 2, WhyMissing::NotDeclared)]);
}

#[test]
fn prompts_of_which_the_beginning_was_recorded_are_told_of() {
    let hashed = |blocks: usize| {
        let mut decision = decision(&[worker(0, 0)], &[0]);
        decision["request"]["prefix_block_tokens"] = 16.0.into();
        decision["request"]["prefix_hashes"] = json!([1, 2]);
        decision["request"]["prefix_blocks"] = blocks.into();
        decision
    };
    let all = |id: &str, decision: Value| {
        let mut record = record(id, 1, &[decision]);
        record["inputs"] = "all".into();
        record
    };
    let fields = manifest(&[Input::PrefixHashes]) + r#"(data (i32.const 16) "\00")"#;
    let reader = guest_with(&fields, &answer(16, 1));
    let records = [all("a", hashed(2)), all("b", hashed(62)), all("c", hashed(3))];
    let report = replayed(&records, None, &[bytes("reader", reader)]);
    let found: Vec<_> =
        report.modules[0].missing.iter().map(|one| (one.input.as_str(), one.decisions, one.why)).collect();
    assert_eq!(found, [("prefix_hashes", 2, WhyMissing::OnlyBeginning)]);
    assert_eq!((report.modules[0].affected, report.modules[0].alike), (2, 3));
}

#[test]
fn pairs_are_chosen_among_the_workers_of_their_roles() {
    let mut workers = [worker(0, 3), worker(1, 0), worker(2, 5), worker(3, 1)];
    for (worker, role) in workers.iter_mut().zip(["prefill", "prefill", "decode", "decode"]) {
        worker["role"] = role.into();
    }
    let records =
        [record("a", 1, &[decision(&workers, &[1, 3])]), record("b", 2, &[decision(&workers, &[0, 3])])];
    let report = replayed(&records, None, &[PolicySource::native("least_load")]);
    assert_eq!(report.modules[0].alike, 1);
    assert_eq!(reasons(&report.modules[0]), [("another worker: less load", 1)]);
    assert_eq!(report.modules[0].reasons[0].examples[0].module.choice, "http://w1, http://w3");
}

#[test]
fn workers_that_the_request_did_not_admit_are_not_chosen_and_decisions_without_a_choice_are_left_out() {
    let mut tried = worker(0, 0);
    tried["admitted"] = false.into();
    let mut ill = worker(0, 0);
    ill["healthy"] = false.into();
    let records = [
        record("a", 1, &[decision(&[tried, worker(1, 9)], &[1])]),
        record("b", 2, &[decision(&[ill], &[])]),
        record("c", 3, &[decision(&[worker(0, 0)], &[7])]),
    ];
    let report = replayed(&records, None, &[PolicySource::native("least_load")]);
    let found = &report.records;
    assert_eq!((found.decisions, found.without_choice, found.incomplete), (1, 1, 1));
    assert_eq!(report.modules[0].alike, 1);
}
