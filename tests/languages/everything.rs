//! Every input, answer, hook and function of the host, in all languages as in Rust.

use fastrand::Rng;
use serde_json::{Value as Json, json};
use sgl_policy_abi::{Answer, PairAnswer};
use sgl_testkit::modules::fixture;

use crate::messages;
use crate::modules::{manifest, of_all_languages};
use crate::plain_guest::PlainGuest;

/// What `everything` answers to; another word, or none, is the lowest load with a digest as its tag.
const COMMANDS: [&str; 12] = [
    "",
    "other",
    "least",
    "nobody",
    "wait",
    "shed",
    "failed",
    "host",
    "explained",
    "waits because",
    "cost",
    "far",
];

const CONFIG: &str =
    r#"{"ratio": 0.25, "size": 100, "on": true, "label": "wörter", "mode": "slow", "team_header": "x-team"}"#;

/// The guest in Rust and that of a language, started.
fn pair(module: &[u8], config: &Json) -> [PlainGuest; 2] {
    let mut guests = [PlainGuest::new(&fixture("everything")), PlainGuest::new(module)];
    for guest in &mut guests {
        assert!(guest.ask("init", &messages::init(config, 7)).is_empty());
    }
    guests
}

fn config() -> Json {
    serde_json::from_str(CONFIG).unwrap()
}

/// Both answers to one message, decoded: keys of maps may come in any order.
fn assert_same(language: &str, guests: &mut [PlainGuest; 2], message: &[u8], what: &str) {
    let [ours, theirs] = guests.each_mut().map(|guest| guest.ask("select_worker", message));
    assert_eq!(Answer::decode(&theirs), Answer::decode(&ours), "{language}: {what}");
    assert!(Answer::decode(&ours).is_ok(), "{what}");
}

#[test]
fn manifest_of_every_language_lists_all_inputs() {
    let ours = manifest(&fixture("everything"));
    for (language, module) in of_all_languages("everything") {
        let theirs = manifest(&module);
        assert_eq!(
            (theirs.concurrency, theirs.inputs),
            (ours.concurrency, ours.inputs.clone()),
            "{language}"
        );
        assert_eq!(theirs.version, "1.2", "{language}");
    }
}

#[test]
fn every_language_reads_all_inputs_and_gives_all_answers_as_rust() {
    let inputs = manifest(&fixture("everything")).inputs;
    for (language, module) in of_all_languages("everything") {
        for config in [json!({}), config()] {
            let mut guests = pair(&module, &config);
            let mut chance = Rng::with_seed(3);
            for (version, workers) in (1..).zip(messages::FLEETS) {
                let table = messages::table(&mut chance, version, workers);
                guests.iter_mut().for_each(|guest| guest.tell("on_workers", &table));
                for command in COMMANDS {
                    let message = messages::decision(&mut chance, &inputs, version, workers, command);
                    assert_same(
                        language,
                        &mut guests,
                        &message,
                        &format!("{command:?} of {workers} workers"),
                    );
                }
            }
            let [ours, theirs] = guests.each_mut().map(PlainGuest::lines);
            assert_eq!(theirs, ours, "{language}");
            assert!(ours.contains(&(2, "hello".to_owned())));
        }
    }
}

#[test]
fn every_language_answers_for_pairs_as_rust() {
    let inputs = manifest(&fixture("everything")).inputs;
    for (language, module) in of_all_languages("everything") {
        let mut guests = pair(&module, &config());
        let mut chance = Rng::with_seed(4);
        let table = messages::table(&mut chance, 9, 20);
        guests.iter_mut().for_each(|guest| guest.tell("on_workers", &table));
        for command in COMMANDS {
            let message = messages::decision(&mut chance, &inputs, 9, 20, command);
            let [ours, theirs] = guests.each_mut().map(|guest| guest.ask("select_worker_pair", &message));
            assert_eq!(PairAnswer::decode(&theirs), PairAnswer::decode(&ours), "{language}: {command}");
            assert!(PairAnswer::decode(&ours).is_ok(), "{command}");
        }
    }
}

#[test]
fn every_language_hears_of_events_and_hands_its_state_over_as_rust() {
    let inputs = manifest(&fixture("everything")).inputs;
    for (language, module) in of_all_languages("everything") {
        let mut guests = pair(&module, &json!({}));
        let mut chance = Rng::with_seed(5);
        let table = messages::table(&mut chance, 2, 20);
        let question = messages::decision(&mut chance, &inputs, 2, 20, "");
        guests.iter_mut().for_each(|guest| guest.tell("on_workers", &table));
        let mut digests = vec![];
        for (export, message) in [
            ("on_first_token", messages::first_tokens(&mut chance, 2)),
            // Of another table: dropped.
            ("on_first_token", messages::first_tokens(&mut chance, 3)),
            ("on_complete", messages::completions(&mut chance, 2)),
            ("on_complete", messages::completions(&mut chance, 1)),
            ("on_complete", messages::other_completions(2)),
            ("on_session_end", messages::session_ends()),
            ("restore_state", b"whatever was saved".to_vec()),
            ("restore_state", vec![]),
        ] {
            guests.iter_mut().for_each(|guest| guest.tell(export, &message));
            assert_same(language, &mut guests, &question, export);
            let [ours, theirs] = guests.each_mut().map(PlainGuest::saved_state);
            assert_eq!(theirs, ours, "{language}: {export}");
            assert_eq!(ours.len(), 8);
            digests.push(ours);
        }
        // Each was heard of, but for the two about other tables.
        digests.dedup();
        assert_eq!(digests.len(), 6, "{language}");
    }
}

#[test]
fn every_language_refuses_configurations_in_the_words_of_rust() {
    for (language, module) in of_all_languages("everything") {
        for config in [
            json!({"rati": 1}),
            json!({"sise": 1, "labl": 2, "ön": 3}),
            json!({"ratio": 1.5}),
            json!({"ratio": true}),
            json!({"size": 0}),
            json!({"size": 7.5}),
            json!({"size": -3}),
            json!({"on": "é".repeat(100)}),
            json!({"on": 1e300}),
            json!({"on": -0.000_001}),
            json!({"on": 1_234.567_8}),
            json!({"label": 7}),
            json!({"mode": "fats"}),
            json!({"mode": 3}),
            json!({"mode": [[[]]], "ratio": 2}),
        ] {
            let refused = [&fixture("everything"), &module].map(|module| {
                let answer = PlainGuest::new(module).ask("init", &messages::init(&config, 1));
                sgl_policy_abi::init_error(&answer).unwrap().expect("it refuses").to_owned()
            });
            assert_eq!(refused[1], refused[0], "{language}: {config}");
        }
    }
}

#[test]
fn every_language_says_why_it_panicked_before_it_traps() {
    let inputs = manifest(&fixture("everything")).inputs;
    for (language, module) in of_all_languages("everything") {
        let mut guest = PlainGuest::new(&module);
        let mut chance = Rng::with_seed(1);
        guest.ask("init", &messages::init(&json!({}), 1));
        guest.tell("on_workers", &messages::table(&mut chance, 1, 3));
        guest.lines();
        let message = messages::decision(&mut chance, &inputs, 1, 3, "panic");
        assert!(guest.try_ask("select_worker", &message).is_err(), "{language}");
        let lines = guest.lines();
        let told = lines.iter().any(|(level, line)| {
            *level == 0
                && line.starts_with("panicked at ")
                && line.contains("everything")
                && line.contains("asked to")
        });
        assert!(told, "{language}: {lines:?}");
    }
}
