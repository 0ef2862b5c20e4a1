//! Answers that are not what they should be.

use std::time::{Duration, Instant};

use sgl_testkit::guest::GuestText;
use sgl_testkit::plugins::asking;
use sgl_testkit::text::{answer, escaped};
use sglang_router_rs::core::{Fleet, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{FailureCause, PluginOptions};

use crate::guest::{answering, guest};
use crate::stage::{BAD, Stage, limits, options};

/// A MessagePack map of one entry.
fn map_with(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81, 0xa0 | u8::try_from(key.len()).unwrap()];
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

async fn malformed(bytes: &[u8]) {
    Stage::new().await.fails(answering(bytes), FailureCause::Decode).await;
}

#[tokio::test]
async fn answer_outside_memory_is_a_decode_failure() {
    let bad = format!("(return {})", answer(0x7000_0000, 8));
    Stage::new().await.fails(guest(&bad), FailureCause::Decode).await;
}

#[tokio::test]
async fn answer_across_the_end_of_memory_is_a_decode_failure() {
    let bad = format!("(return {})", answer(131_070, 8));
    Stage::new().await.fails(guest(&bad), FailureCause::Decode).await;
}

#[tokio::test]
async fn answer_that_wraps_around_the_address_space_is_a_decode_failure() {
    let bad = format!("(return {})", answer(u32::MAX, 2));
    Stage::new().await.fails(guest(&bad), FailureCause::Decode).await;
}

#[tokio::test]
async fn answer_that_claims_four_gibibytes_is_a_decode_failure() {
    let bad = format!("(return {})", answer(0, u32::MAX));
    Stage::new().await.fails(guest(&bad), FailureCause::Decode).await;
}

#[tokio::test]
async fn answer_above_the_limit_that_lies_in_memory_is_a_decode_failure() {
    // 2 MiB of memory: the megabyte and a byte is there, and is not read.
    let bad = format!("(drop (memory.grow (i32.const 30))) (return {})", answer(0, (1 << 20) + 1));
    let stage = Stage::new().await;
    let mut limits = limits();
    limits.max_memory_bytes = 4 << 20;
    let hostile = stage.load_with(limits, options(), guest(&bad)).await;
    stage.falls_back(&hostile, FailureCause::Decode).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn answer_that_lies_over_the_message_is_read_as_it_is() {
    // The message is an array that begins with the version of the table, which no worker's index is.
    let bad = "(return (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
                               (i64.extend_i32_u (local.get $len))))";
    Stage::new().await.fails(guest(bad), FailureCause::InvalidChoice).await;
}

#[tokio::test]
async fn answer_cut_short_is_a_decode_failure() {
    malformed(&[0xcd, 0x01]).await;
    let whole = map_with("selected_worker", &[0x00]);
    malformed(&whole[..whole.len() - 1]).await;
}

#[tokio::test]
async fn answer_that_is_no_message_pack_is_a_decode_failure() {
    malformed(&[0xc1]).await;
    malformed(br#"{"selected_worker": 0}"#).await;
}

#[tokio::test]
async fn answer_with_more_behind_it_is_a_decode_failure() {
    malformed(&[0x00, 0x00]).await;
}

#[tokio::test]
async fn answer_of_another_type_is_a_decode_failure() {
    // An array, a text, a float, a boolean, bytes, and an extension.
    let others: [&[u8]; 6] =
        [&[0x91, 0x00], b"\xa10", &[0xca, 0, 0, 0, 0], &[0xc2], &[0xc4, 1, 0], &[0xd4, 0, 0]];
    for bytes in others {
        malformed(bytes).await;
    }
}

#[tokio::test]
async fn nesting_of_a_hundred_thousand_levels_is_a_decode_failure() {
    // Not a stack overflow of the host, in an ignored key or in the state.
    let deep = vec![0x91; 60_000];
    malformed(&map_with("ignored", &deep)).await;
    malformed(&map_with("state", &map_with("k", &deep))).await;
}

#[tokio::test]
async fn lengths_of_four_gibibytes_inside_are_decode_failures() {
    // An array, a map, a text and bytes that claim 2^32 - 1.
    for marker in [0xdd, 0xdf, 0xdb, 0xc6] {
        malformed(&map_with("ignored", &[marker, 0xff, 0xff, 0xff, 0xff])).await;
        malformed(&[marker, 0xff, 0xff, 0xff, 0xff]).await;
    }
}

#[tokio::test]
async fn largest_answer_with_the_most_entries_takes_the_host_no_time() {
    // 21,000 entries of an empty key and nil, and a choice at the end.
    let count = 21_000_u16;
    let mut bytes = vec![0xde];
    bytes.extend_from_slice(&(count + 1).to_be_bytes());
    bytes.extend(std::iter::repeat_n([0xa0, 0xc0], count.into()).flatten());
    bytes.extend_from_slice(&map_with("selected_worker", &[0x03])[1..]);
    let stage = Stage::new().await;
    let hostile = stage.load(answering(&bytes)).await;
    let start = Instant::now();
    stage.by_plugin(&hostile, BAD, 3).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    stage.ends(hostile).await;
}

#[tokio::test]
async fn texts_that_are_not_utf8_are_decode_failures() {
    malformed(&map_with("error", b"\xa2\xff\xfe")).await;
    malformed(&map_with("reason", b"\xa1\x80")).await;
}

#[tokio::test]
async fn choice_that_is_no_integer_is_a_decode_failure() {
    malformed(&map_with("selected_worker", &[0xca, 0x3f, 0x80, 0, 0])).await;
    malformed(&map_with("selected_worker", b"\xa10")).await;
}

#[tokio::test]
async fn error_of_the_guest_is_its_own_cause() {
    let error = map_with("error", b"\xacno luck \x1b[2J");
    Stage::new().await.fails(answering(&error), FailureCause::GuestError).await;
}

#[tokio::test]
async fn scores_and_reasons_that_make_no_sense_are_ignored() {
    // Seven bytes of scores for four workers.
    let mut bytes = vec![0x83];
    bytes.extend_from_slice(&map_with("selected_worker", &[0x02])[1..]);
    bytes.extend_from_slice(&map_with("scores", b"\xc4\x07\xff\xff\xff\xff\xff\xff\xff")[1..]);
    bytes.extend_from_slice(&map_with("reason", b"\xa3\x1b[H")[1..]);
    let stage = Stage::new().await;
    let hostile = stage.load(answering(&bytes)).await;
    stage.by_plugin(&hostile, BAD, 2).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn init_that_answers_nonsense_is_refused() {
    let starts = |bytes: &[u8], at: u32, len: u32| {
        let wasm = GuestText {
            fields: &format!(r#"(data (i32.const 1024) "{}")"#, escaped(bytes)),
            ..GuestText::default()
        };
        let text = wasm.text().replace(
            r#"(func $init (export "init") )"#,
            &format!(r#"(func $init (export "init") (param i32 i32) (result i64) {})"#, answer(at, len)),
        );
        wat::parse_str(text).unwrap()
    };
    let cases = [
        (starts(b"\xc1", 1024, 1), "`init` gave a malformed answer"),
        (starts(b"", 0x7000_0000, 9), "outside its memory"),
        (starts(b"", 0, u32::MAX), "answered 4294967295 bytes; the limit is 1048576"),
    ];
    for (wasm, part) in cases {
        Stage::new().await.refuses(wasm, &["does not start: init", part]).await;
    }
}

#[tokio::test]
async fn malformed_pair_is_a_decode_failure_and_the_fallback_pairs() {
    let fields = format!(
        r#"(data (i32.const 1024) "\93\00\01\02")
        (func (export "select_worker_pair") (param i32 i32) (result i64) {})"#,
        answer(1024, 4)
    );
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let untested = PluginOptions { self_test: false, ..options() };
    let hostile = stage.load_with(limits(), untested, wasm).await;
    let fleet = Fleet::new();
    for (url, role) in [("http://p", WorkerRole::Prefill), ("http://d", WorkerRole::Decode)] {
        fleet.add(WorkerSpec { role, ..WorkerSpec::new(url) }, true).unwrap();
    }
    let (table, info) = (fleet.table(), asking("x"));
    let pair = stage.beside(hostile.policy.decide_pair_async(&table, &info)).await.expect("a pair");
    assert_eq!((pair.prefill.index(), pair.decode.index()), (0, 1));
    assert_eq!(hostile.failures(FailureCause::Decode), 1);
    stage.ends(hostile).await;
}
