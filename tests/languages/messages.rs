//! Messages as a router writes them, with contents that a seed makes.

use fastrand::Rng;
use serde_json::Value as Json;
use sgl_policy_abi::{
    Column, ColumnNumber, Completion, FirstToken, Full, Input, KnownEngine, KnownModels, Labels, WorkerFacts,
    WorkerRole, Writer, encode_completions, encode_first_tokens, encode_session_ends, encode_table,
    encode_to_vec, encode_worker,
};

/// Sizes of fleets around those of bytes, blocks and words.
pub(crate) const FLEETS: [usize; 14] = [0, 1, 2, 7, 8, 9, 15, 17, 63, 64, 65, 130, 300, 1000];

pub(crate) fn init(config: &Json, generation: u64) -> Vec<u8> {
    let init = serde_json::json!({
        "abi": 1, "plugin": "näme", "generation": generation, "config": config, "seed": u64::MAX - generation,
        "later": {"routers": ["may", "send", -7, 1.5, null]},
    });
    rmp_serde::to_vec_named(&init).unwrap()
}

/// The table of as many workers.
pub(crate) fn table(chance: &mut Rng, version: u64, workers: usize) -> Vec<u8> {
    let seed = chance.u64(..);
    let names = ["base".to_owned(), "sql".to_owned()];
    encode_to_vec(|w| {
        // The same again if it did not fit.
        let mut chance = Rng::with_seed(seed);
        encode_table(w, version, workers)?;
        (0..workers).try_for_each(|index| worker(&mut chance, w, index, &names))
    })
    .unwrap()
}

fn worker(chance: &mut Rng, w: &mut Writer<'_>, index: usize, names: &[String]) -> Result<(), Full> {
    let some = |chance: &mut Rng| chance.bool().then(|| chance.u32(1..));
    let engine = KnownEngine {
        name: [None, Some("sglang"), Some("vllm")][chance.usize(..3)],
        kv_capacity_tokens: some(chance),
        block_size: some(chance),
        max_running_requests: some(chance),
        dp_rank: chance.bool().then(|| chance.u32(..8)),
        models: KnownModels::new(&names[..chance.usize(..3)]),
    };
    // Nothing that a policy has to read is too short.
    let url = if index == 5 { String::new() } else { format!("http://10.0.0.{index}:30000") };
    let facts = WorkerFacts {
        url: &url,
        model: [None, Some("m"), Some("ein-Modell-mit-einem-Namen-der-länger-als-32-Bytes-ist")]
            [chance.usize(..3)],
        role: [WorkerRole::Regular, WorkerRole::Prefill, WorkerRole::Decode][chance.usize(..3)],
        weight: [1.0, 2.0, 0.25, 0.0, 1e-3][chance.usize(..5)],
        labels: Labels::default(),
        engine,
    };
    let labels = [("pool", "\u{1f980}"), ("zone", "x"), ("rack", "")];
    encode_worker(w, &facts, labels.into_iter().take(chance.usize(..4)))
}

/// A decision about as many workers of this version of the table.
pub(crate) fn decision(
    chance: &mut Rng,
    inputs: &[Input],
    version: u64,
    workers: usize,
    command: &str,
) -> Vec<u8> {
    let seed = chance.u64(..);
    encode_to_vec(|w| {
        let mut chance = Rng::with_seed(seed);
        w.array(inputs.len() + 1)?;
        w.uint(version)?;
        inputs.iter().try_for_each(|input| element(&mut chance, w, input, workers, command))
    })
    .unwrap()
}

fn element(
    chance: &mut Rng,
    w: &mut Writer<'_>,
    input: &Input,
    workers: usize,
    command: &str,
) -> Result<(), Full> {
    match input {
        // Bits beyond the last worker are set, too.
        Input::Healthy => {
            w.bin(workers.div_ceil(8)).map(|bits| bits.fill_with(|| chance.u8(..) | chance.u8(..)))
        }
        Input::Excluded => {
            w.bin(workers.div_ceil(8)).map(|bits| bits.fill_with(|| chance.u8(..) & chance.u8(..)))
        }
        Input::Column(column) => words(w, workers, || number(chance, *column)),
        Input::PrefixMatch => words(w, workers, || small(chance).to_le_bytes()),
        Input::RequestText | Input::Route | Input::Session | Input::ClientKey | Input::Model => {
            text(chance, w)
        }
        Input::Header(_) | Input::ConfigHeader(_) | Input::Field(_) => text(chance, w),
        Input::Query(_) => w.opt_str(Some(command).filter(|command| !command.is_empty())),
        Input::RequestTokens => list(chance, w, 4),
        Input::PrefixHashes => list(chance, w, 8),
        Input::ArrivalRate => w.f32([f32::NAN, 0.5, 1e9][chance.usize(..3)]),
        Input::MaxTokens => {
            if chance.bool() {
                w.nil()
            } else {
                w.uint(some_uint(chance))
            }
        }
        Input::PromptTokensExact | Input::Stream => w.uint(chance.u64(..2)),
        Input::Leg => w.uint(chance.u64(..3)),
        Input::PromptTokens => w.uint(chance.u64(..5000)),
        Input::PromptBytes
        | Input::WaitedMs
        | Input::MayWaitMs
        | Input::Held
        | Input::Random
        | Input::NowNs => w.uint(some_uint(chance)),
    }
}

/// Of any width on the wire.
fn some_uint(chance: &mut Rng) -> u64 {
    chance.u64(..) >> chance.u32(..64)
}

/// With ties, and unknown ones.
fn small(chance: &mut Rng) -> i32 {
    chance.i32(-1..4) * 500
}

fn number(chance: &mut Rng, column: Column) -> [u8; 4] {
    match column.number() {
        ColumnNumber::I32 => [small(chance).max(-1), 0, i32::MAX]
            [usize::from(chance.u8(..) > 180) * chance.usize(..3)]
        .to_le_bytes(),
        ColumnNumber::F32 => [f32::NAN, 0.5, chance.f32() * 1e6][chance.usize(..3)].to_le_bytes(),
    }
}

fn words(w: &mut Writer<'_>, count: usize, mut next: impl FnMut() -> [u8; 4]) -> Result<(), Full> {
    w.bin(4 * count)?.as_chunks_mut().0.iter_mut().for_each(|word| *word = next());
    Ok(())
}

fn text(chance: &mut Rng, w: &mut Writer<'_>) -> Result<(), Full> {
    match chance.u8(..6) {
        0 => w.nil(),
        1 => w.str(""),
        2 => w.str("wörter"),
        3 => w.str(&"x".repeat(40)),
        4 => w.str(&"né".repeat(100)),
        _ => w.str(&"long ".repeat(chance.usize(..20_000))),
    }
}

fn list(chance: &mut Rng, w: &mut Writer<'_>, width: usize) -> Result<(), Full> {
    match chance.u8(..4) {
        0 => w.nil(),
        _ => w
            .bin(width * [0, 1, 3, 70, 20_000][chance.usize(..5)])
            .map(|bytes| bytes.fill_with(|| chance.u8(..))),
    }
}

pub(crate) fn first_tokens(chance: &mut Rng, version: u64) -> Vec<u8> {
    let mut entry = || FirstToken { worker: chance.u32(..), tag: tag(chance), ms: chance.f32() };
    let entries: Vec<_> = (0..20).map(|_| entry()).collect();
    encode_to_vec(|w| encode_first_tokens(w, version, entries.iter())).unwrap()
}

fn tag(chance: &mut Rng) -> Option<u64> {
    chance.bool().then(|| some_uint(chance))
}

pub(crate) fn completions(chance: &mut Rng, version: u64) -> Vec<u8> {
    let mut entry = || Completion {
        worker: chance.u32(..),
        ok: chance.bool(),
        status: chance.bool().then(|| chance.u16(..)),
        first_byte_ms: chance.bool().then(|| chance.f32()),
        total_ms: chance.bool().then(|| chance.f32() * 1e6),
        prompt_tokens: chance.bool().then(|| chance.u32(..)),
        completion_tokens: chance.bool().then(|| chance.u32(..)),
        cached_tokens: chance.bool().then(|| chance.u32(..)),
        tag: tag(chance),
    };
    let entries: Vec<_> = (0..20).map(|_| entry()).collect();
    encode_to_vec(|w| encode_completions(w, version, entries.iter())).unwrap()
}

/// Entries of the first routers, which end after seven elements, and of later ones, which are longer.
pub(crate) fn other_completions(version: u64) -> Vec<u8> {
    encode_to_vec(|w| {
        w.array(3)?;
        w.uint(version)?;
        w.array(2)?;
        for length in [7, 11] {
            w.array(length)?;
            w.uint(3)?;
            w.bool(true)?;
            (2..length).try_for_each(|_| w.uint(200))?;
        }
        w.map(0)
    })
    .unwrap()
}

pub(crate) fn session_ends() -> Vec<u8> {
    encode_to_vec(|w| {
        encode_session_ends(w, ["s-1", "", "Sitzung-zwei-mit-einem-längeren-Namen"].iter().copied())
    })
    .unwrap()
}
