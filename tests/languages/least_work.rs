//! The example policy of all languages decides as the one in Rust.

use fastrand::Rng;
use serde_json::json;
use sgl_policy_abi::Answer;
use sgl_testkit::modules::plugin;

use crate::messages;
use crate::modules::{manifest, of_all_languages};
use crate::plain_guest::PlainGuest;

#[test]
fn least_work_of_every_language_says_the_same_of_itself() {
    let ours = manifest(&plugin("least_work"));
    for (language, module) in of_all_languages("least_work") {
        let theirs = manifest(&module);
        assert_eq!((&theirs.name, &theirs.description), (&ours.name, &ours.description), "{language}");
        assert_eq!((theirs.abi, theirs.wire, theirs.concurrency), (ours.abi, ours.wire, ours.concurrency));
        assert_eq!(theirs.inputs, ours.inputs, "{language}");
    }
}

#[test]
fn least_work_of_every_language_chooses_as_the_one_in_rust() {
    let ours = plugin("least_work");
    let inputs = manifest(&ours).inputs;
    for (language, module) in of_all_languages("least_work") {
        let (mut chosen, mut nobody) = (0, 0);
        for (seed, config) in (0u64..).zip([
            json!({}),
            json!({"request_tokens": 0}),
            json!({"request_tokens": 333.25, "reports": false}),
            json!({"by_weight": false, "reports": null}),
        ]) {
            let mut guests = [PlainGuest::new(&ours), PlainGuest::new(&module)];
            let mut chance = Rng::with_seed(seed);
            for guest in &mut guests {
                assert!(guest.ask("init", &messages::init(&config, 1)).is_empty());
            }
            for (version, workers) in (1 << 40..).zip(messages::FLEETS) {
                let table = messages::table(&mut chance, version, workers);
                guests.iter_mut().for_each(|guest| guest.tell("on_workers", &table));
                for turn in 0..100 {
                    let message = messages::decision(&mut chance, &inputs, version, workers, "");
                    let [ours, theirs] = guests.each_mut().map(|guest| guest.ask("select_worker", &message));
                    assert_eq!(theirs, ours, "{language}: {config}, {workers} workers, turn {turn}");
                    *match Answer::decode(&ours).unwrap().selected() {
                        Some(_) => &mut chosen,
                        None => &mut nobody,
                    } += 1;
                }
            }
        }
        assert!(chosen > 4000 && nobody > 100, "{language}: {chosen} {nobody}");
    }
}

#[test]
fn least_work_of_every_language_refuses_configurations_in_the_words_of_the_one_in_rust() {
    let ours = plugin("least_work");
    for (language, module) in of_all_languages("least_work") {
        for config in [
            json!({"request_token": 5}),
            json!({"by_wait": true, "reprots": 1}),
            json!({"request_tokens": -1}),
            json!({"request_tokens": 1_000_000.5}),
            json!({"request_tokens": "many"}),
            json!({"reports": "yes"}),
            json!({"by_weight": [1]}),
            json!({"by_weight": {"a": 1}}),
            json!({"reports": 0.125}),
        ] {
            let refused = [&ours, &module].map(|module| {
                let answer = PlainGuest::new(module).ask("init", &messages::init(&config, 1));
                sgl_policy_abi::init_error(&answer).unwrap().expect("it refuses").to_owned()
            });
            assert_eq!(refused[1], refused[0], "{language}: {config}");
        }
    }
}

#[test]
fn least_work_of_every_language_keeps_its_memory_over_many_tables() {
    for (language, module) in of_all_languages("least_work") {
        let mut guest = PlainGuest::new(&module);
        let mut chance = Rng::with_seed(7);
        guest.ask("init", &messages::init(&json!({}), 1));
        let mut after = [0; 2];
        for bytes in &mut after {
            for version in 0..300u64 {
                let table = messages::table(&mut chance, version, 200);
                guest.tell("on_workers", &table);
            }
            *bytes = guest.memory_bytes();
        }
        // A collector may come later the second time; 300 tables that were kept would be the multiple of it.
        assert!(after[1] <= after[0] + after[0] / 4, "{language} grows: {after:?}");
    }
}
