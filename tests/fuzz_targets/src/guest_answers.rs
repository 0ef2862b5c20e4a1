//! A guest's answer, into the decoders and through the host.

use std::sync::LazyLock;

use sgl_policy_abi::{
    Answer, CompletionBatch, Init, Manifest, PairAnswer, RowsMessage, TableMessage, encode_to_vec, init_error,
};
use sglang_router_rs::core::{CandidateWorkers, WorkerRole, WorkerTable};
use sglang_router_rs::policies::{
    Chooser, DecideError, Decision, FailureCause, PolicyHandle, SelectWorkerInfo, WasmPolicyConfig,
};

use crate::host::Host;
use crate::{fleet, guests, host};

/// Longest answer that is tried. One of 1 MiB is longer than any buffer of these guests.
const MAX_BYTES: usize = 16 << 10;

/// Workers of the table; the last is not healthy.
const WORKERS: usize = 5;

/// The guests, loaded once: what they answer is in the request.
struct AnsweringGuests {
    host: Host,
    columns: PolicyHandle,
    sized: PolicyHandle,
    rows: PolicyHandle,
}

static STAGE: LazyLock<AnsweringGuests> = LazyLock::new(|| {
    let host = Host::new();
    let load = |name: &str, wasm| {
        // Patient: what takes long here is the machine.
        let config = WasmPolicyConfig {
            name: name.into(),
            max_execution_time_ms: 30_000,
            max_memory_bytes: 16 << 20,
            ..host::config()
        };
        host.load(config, host::options(), wasm).expect("it behaves")
    };
    AnsweringGuests {
        columns: load("columns", guests::answering()),
        sized: load("sized", guests::answering_sized()),
        rows: load("rows", guests::answering_rows()),
        host,
    }
});

/// What the host must make of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Chosen(usize),
    Nobody,
    Failed(FailureCause),
}

/// A guest's answer, into the decoders and through the host. The first byte says which guest gives
/// it, and whether the rest is the answer or the `i64` that says where it lies.
pub fn guest_answers(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    decode(bytes);
    let table = fleet::table(WORKERS);
    match mode % 5 {
        0 => answers(&STAGE.columns, &table, bytes),
        1 => answers(&STAGE.sized, &table, bytes),
        2 => answers_in_rows(&table, bytes),
        3 => answers_with_a_pair(&table, bytes),
        _ => points_anywhere(&table, bytes),
    }
    fleet::nothing_in_flight(&table);
}

/// What can be read is written and read again as the same; everything else is an error.
fn decode(bytes: &[u8]) {
    if let Ok(answer) = Answer::decode(bytes) {
        let again = encode_to_vec(|writer| answer.encode(writer)).expect("fits");
        assert_eq!(Answer::decode(&again), Ok(answer));
    }
    if let Ok(answer) = PairAnswer::decode(bytes) {
        let again = encode_to_vec(|writer| answer.encode(writer)).expect("fits");
        assert_eq!(PairAnswer::decode(&again), Ok(answer));
    }
    if let Ok(manifest) = Manifest::decode(bytes) {
        let again = encode_to_vec(|writer| manifest.encode(writer)).expect("fits");
        assert_eq!(Manifest::decode(&again).as_ref(), Ok(&manifest));
    }
    let _ = init_error(bytes);
    let _ = Init::decode(bytes);
    if let Ok(batch) = CompletionBatch::decode(bytes) {
        assert!(batch.iter().count() <= bytes.len());
    }
    if let Ok(rows) = RowsMessage::decode(bytes) {
        assert!(rows.workers().count() <= bytes.len());
    }
    if let Ok(table) = TableMessage::decode(bytes) {
        assert!(
            table.workers().flatten().map(|worker| worker.labels.iter().count()).sum::<usize>()
                <= bytes.len()
        );
    }
}

/// The tokens of a request that is answered with these bytes, or with what lies where `raw` says.
fn tokens(bytes: &[u8], raw: Option<u64>) -> Vec<u32> {
    // A word before the answer for its size, in the form that has it there.
    let mut all = vec![0; 4];
    all.extend_from_slice(bytes);
    all.resize(4 + bytes.len().next_multiple_of(4), 0);
    all.extend_from_slice(&raw.unwrap_or_default().to_le_bytes());
    all.extend_from_slice(&u32::from(raw.is_some()).to_le_bytes());
    all.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_le_bytes());
    all.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four"))).collect()
}

fn answers(policy: &PolicyHandle, table: &WorkerTable, bytes: &[u8]) {
    let tokens = tokens(bytes, None);
    let info = SelectWorkerInfo { tokens: Some(&tokens), ..SelectWorkerInfo::default() };
    compare(table, &info, bytes, policy.decide(table, &info));
}

fn answers_in_rows(table: &WorkerTable, bytes: &[u8]) {
    let digit = |half: u8| char::from(b'a' + half);
    let letters: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    let text = format!("@@@{letters}!");
    let info = SelectWorkerInfo { request_text: Some(&text), ..SelectWorkerInfo::default() };
    compare(table, &info, bytes, STAGE.host.run(STAGE.rows.decide_async(table, &info)));
    // The state that it may have returned is sent with the next request.
    let info = SelectWorkerInfo { request_text: Some("next"), ..SelectWorkerInfo::default() };
    compare(table, &info, &[0], STAGE.rows.decide(table, &info));
}

fn compare(
    table: &WorkerTable,
    info: &SelectWorkerInfo<'_>,
    bytes: &[u8],
    outcome: Result<Decision, DecideError>,
) {
    fleet::check(table, info, &outcome);
    let may =
        |index: i64| usize::try_from(index).ok().filter(|index| *index < WORKERS && table.is_healthy(*index));
    let chosen = |index| may(index).map_or(Expected::Failed(FailureCause::InvalidChoice), Expected::Chosen);
    let nobody = || {
        let open = (0..WORKERS).any(|index| table.is_healthy(index));
        if open { Expected::Failed(FailureCause::NoChoice) } else { Expected::Nobody }
    };
    let expected = match Answer::decode(bytes) {
        Err(_) => Expected::Failed(FailureCause::Decode),
        Ok(Answer::Map(map)) if map.error.is_some() => Expected::Failed(FailureCause::GuestError),
        Ok(answer) => answer.selected().map_or_else(nobody, chosen),
    };
    let found = match &outcome {
        Err(_) => Expected::Nobody,
        Ok(decision) => match decision.chooser() {
            // Says nothing of the answer: the machine stood still.
            Chooser::Fallback { cause: FailureCause::Timeout } => return,
            Chooser::Fallback { cause } => Expected::Failed(cause),
            _ => Expected::Chosen(decision.index()),
        },
    };
    assert_eq!(found, expected, "{bytes:02x?}");
}

fn answers_with_a_pair(table: &WorkerTable, bytes: &[u8]) {
    let tokens = tokens(bytes, None);
    let info = SelectWorkerInfo { tokens: Some(&tokens), ..SelectWorkerInfo::default() };
    let outcome = STAGE.host.run(STAGE.columns.decide_pair_async(table, &info));
    let Ok(pair) = outcome else { return };
    fleet::check_decision(table, &info, &pair.prefill);
    fleet::check_decision(table, &info, &pair.decode);
    let indexes = (pair.prefill.index(), pair.decode.index());
    assert_eq!(table.role(indexes.0), WorkerRole::Prefill);
    assert_eq!(table.role(indexes.1), WorkerRole::Decode);
    if let Chooser::Plugin { .. } = pair.prefill.chooser() {
        let answer = PairAnswer::decode(bytes).expect("else it is not the plugin's");
        let selected = answer.selected().expect("else it is not the plugin's");
        assert_eq!(selected, (indexes.0 as i64, indexes.1 as i64));
    }
}

/// A result that points wherever it likes.
fn points_anywhere(table: &WorkerTable, bytes: &[u8]) {
    let mut raw = [0; 8];
    let given = bytes.len().min(8);
    raw[..given].copy_from_slice(&bytes[..given]);
    let tokens = tokens(&bytes[given..], Some(u64::from_le_bytes(raw)));
    let info = SelectWorkerInfo { tokens: Some(&tokens), ..SelectWorkerInfo::default() };
    for policy in [&STAGE.columns, &STAGE.sized] {
        fleet::check(table, &info, &policy.decide(table, &info));
    }
}
