//! Messages that no router sends: nothing that a guest reads leads it out of them.

use fastrand::Rng;
use serde_json::json;
use sgl_policy_abi::{Answer, Reader};
use sgl_testkit::modules::fixture;

use crate::messages;
use crate::modules::{manifest, of_all_languages};
use crate::plain_guest::PlainGuest;

/// Cut short, a byte changed, bytes in the middle lost, or another length claimed.
fn spoilt(chance: &mut Rng, message: &[u8]) -> Vec<u8> {
    let mut spoilt = message.to_vec();
    let at = chance.usize(..spoilt.len().min(400));
    match chance.u8(..5) {
        0 => spoilt.truncate(at),
        1 => spoilt[at] = chance.u8(..),
        2 => drop(spoilt.drain(at..(at + chance.usize(1..9)).min(message.len()))),
        3 => {
            drop(spoilt.splice(at..at, [[0xdd, 0xc6, 0xdb, 0xdf][chance.usize(..4)], 0xff, 0xff, 0xff, 0xff]))
        }
        _ => spoilt.push(0),
    }
    spoilt
}

#[test]
fn no_message_makes_a_guest_trap_or_answer_with_what_is_no_answer() {
    let inputs = manifest(&fixture("everything")).inputs;
    for (language, module) in of_all_languages("everything") {
        let mut guest = PlainGuest::new(&module);
        let mut chance = Rng::with_seed(11);
        let init = messages::init(&json!({"ratio": 0.5, "label": "x"}), 1);
        let mut errors = 0;
        for turn in 0..800 {
            let table = messages::table(&mut chance, turn, 9);
            let question = messages::decision(&mut chance, &inputs, turn, 9, "explained");
            let told = [
                ("on_first_token", messages::first_tokens(&mut chance, turn)),
                ("on_complete", messages::completions(&mut chance, turn)),
                ("on_session_end", messages::session_ends()),
            ];
            for message in [spoilt(&mut chance, &init), init.clone()] {
                let answer = guest.ask("init", &message);
                assert!(answer.is_empty() || Reader::new(&answer).skip().is_ok(), "{language}: {answer:x?}");
            }
            for message in [spoilt(&mut chance, &table), table] {
                guest.tell("on_workers", &message);
            }
            for (export, message) in told {
                guest.tell(export, &spoilt(&mut chance, &message));
            }
            for export in ["select_worker", "select_worker_pair"] {
                let answer = guest.ask(export, &spoilt(&mut chance, &question));
                assert!(
                    Reader::new(&answer).skip().is_ok(),
                    "{language}, {export}, turn {turn}: {answer:x?}"
                );
                errors += usize::from(
                    matches!(Answer::decode(&answer), Ok(Answer::Map(map)) if map.error.is_some()),
                );
            }
        }
        assert!((400..1600).contains(&errors), "{language}: {errors}");
    }
}

#[test]
fn nesting_without_an_end_needs_no_stack() {
    for (language, module) in of_all_languages("everything") {
        let mut guest = PlainGuest::new(&module);
        let deep = [&[0x81, 0xa6][..], b"config", &[0x91; 200_000], &[0xc0]].concat();
        let answer = guest.ask("init", &deep);
        let error = sgl_policy_abi::init_error(&answer).unwrap();
        assert_eq!(error, Some("init message is malformed"), "{language}");
    }
}
