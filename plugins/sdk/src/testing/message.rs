//! The router's half of the wire: table and decision messages.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use sgl_policy_abi::{
    Column, ColumnWidth, Full, Input, KnownEngine, KnownModels, Labels, Map, WorkerFacts, Writer,
    encode_table, encode_to_vec, encode_worker,
};

use crate::testing::fleet::{Request, TestWorker};

/// The message of `on_workers`.
pub(super) fn table(version: u64, workers: &[TestWorker]) -> Result<Vec<u8>, Full> {
    encode_to_vec(|w| {
        encode_table(w, version, workers.len())?;
        workers.iter().try_for_each(|worker| {
            let facts = WorkerFacts {
                url: &worker.url,
                model: worker.model.as_deref(),
                role: worker.role,
                weight: worker.weight,
                labels: Labels::default(),
                engine: KnownEngine {
                    name: worker.engine.as_deref(),
                    kv_capacity_tokens: worker.kv_capacity_tokens,
                    block_size: worker.block_size,
                    max_running_requests: worker.max_running_requests,
                    dp_rank: worker.dp_rank,
                    models: KnownModels::new(&worker.models),
                },
            };
            encode_worker(w, &facts, worker.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        })
    })
}

/// The message of `select_worker` and `select_worker_pair`.
pub(super) fn decision(
    inputs: &[Input],
    version: u64,
    workers: &[TestWorker],
    request: &Request,
    config: &Map,
    random: u64,
) -> Result<Vec<u8>, Full> {
    encode_to_vec(|w| {
        w.array(inputs.len() + 1)?;
        w.uint(version)?;
        inputs.iter().try_for_each(|input| element(w, input, workers, request, config, random))
    })
}

/// What the message has for one input.
fn element(
    w: &mut Writer<'_>,
    input: &Input,
    workers: &[TestWorker],
    request: &Request,
    config: &Map,
    random: u64,
) -> Result<(), Full> {
    match input {
        Input::Healthy => bits(w, workers, |worker| worker.healthy),
        Input::Excluded => bits(w, workers, |worker| worker.excluded),
        Input::Column(column) => numbers(w, *column, workers),
        Input::PrefixMatch => words(w, Some(workers), |worker| worker.prefix_match.to_le_bytes()),
        Input::RequestText => w.opt_str(request.text.as_deref()),
        Input::RequestTokens => words(w, request.tokens.as_deref(), |token| token.to_le_bytes()),
        Input::PromptBytes => {
            w.uint(u64::try_from(request.text.as_deref().map_or(0, str::len)).unwrap_or(u64::MAX))
        }
        Input::PromptTokens => w.uint(request.prompt_tokens),
        Input::PromptTokensExact => w.uint(u64::from(request.prompt_tokens_exact)),
        Input::MaxTokens => match request.max_tokens {
            Some(count) => w.uint(count),
            None => w.nil(),
        },
        Input::Stream => w.uint(u64::from(request.stream)),
        Input::Route => w.opt_str(request.route.as_deref()),
        Input::Session => w.opt_str(request.session.as_deref()),
        Input::ClientKey => w.opt_str(request.client_key.as_deref()),
        Input::PrefixHashes => words(w, request.prefix_hashes.as_deref(), |hash| hash.to_le_bytes()),
        Input::ArrivalRate => w.f32(request.arrival_rate.unwrap_or(f32::NAN)),
        Input::Model => w.opt_str(request.model.as_deref()),
        Input::Header(name) => w.opt_str(found(&request.headers, name)),
        Input::ConfigHeader(key) => {
            let name = config.iter().find(|(known, _)| known == key).and_then(|(_, name)| name.as_str());
            w.opt_str(name.and_then(|name| found(&request.headers, &name.to_ascii_lowercase())))
        }
        Input::Field(pointer) => w.opt_str(found(&request.fields, pointer)),
        Input::Query(name) => w.opt_str(found(&request.query, name)),
        Input::WaitedMs => w.uint(request.waited_ms),
        Input::MayWaitMs => w.uint(request.may_wait_ms),
        Input::Held => w.uint(request.held),
        Input::Leg => w.uint(request.leg.number()),
        Input::Random => w.uint(random),
        Input::NowNs => w.uint(request.now_ns),
    }
}

/// The value of the first pair of that name.
fn found<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Numbers of a fixed width in a `bin`, or nil.
fn words<T, const N: usize>(
    w: &mut Writer<'_>,
    numbers: Option<&[T]>,
    bytes: fn(&T) -> [u8; N],
) -> Result<(), Full> {
    let Some(numbers) = numbers else { return w.nil() };
    for (entry, number) in w.bin(numbers.len() * N)?.chunks_exact_mut(N).zip(numbers) {
        entry.copy_from_slice(&bytes(number));
    }
    Ok(())
}

fn bits(w: &mut Writer<'_>, workers: &[TestWorker], is_set: fn(&TestWorker) -> bool) -> Result<(), Full> {
    let mut bytes = vec![0u8; ColumnWidth::Bit.bytes(workers.len())];
    for (byte, block) in bytes.iter_mut().zip(workers.chunks(8)) {
        for (bit, worker) in block.iter().enumerate() {
            *byte |= u8::from(is_set(worker)) << bit;
        }
    }
    w.bin(bytes.len())?.copy_from_slice(&bytes);
    Ok(())
}

fn numbers(w: &mut Writer<'_>, column: Column, workers: &[TestWorker]) -> Result<(), Full> {
    let bytes = w.bin(ColumnWidth::Word.bytes(workers.len()))?;
    for (entry, worker) in bytes.chunks_exact_mut(Column::WIDTH).zip(workers) {
        entry.copy_from_slice(&worker.number(column));
    }
    Ok(())
}
