//! The router's half of the wire: table and decision messages.

use alloc::vec;
use alloc::vec::Vec;

use sgl_policy_abi::{
    Column, ColumnWidth, Full, Input, KnownEngine, Labels, WorkerFacts, Writer, encode_table, encode_to_vec,
    encode_worker,
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
    random: u64,
) -> Result<Vec<u8>, Full> {
    encode_to_vec(|w| {
        w.array(inputs.len() + 1)?;
        w.uint(version)?;
        inputs.iter().try_for_each(|input| element(w, input, workers, request, random))
    })
}

/// What the message has for one input.
fn element(
    w: &mut Writer<'_>,
    input: &Input,
    workers: &[TestWorker],
    request: &Request,
    random: u64,
) -> Result<(), Full> {
    match input {
        Input::Healthy => bits(w, workers, |worker| worker.healthy),
        Input::Excluded => bits(w, workers, |worker| worker.excluded),
        Input::Column(column) => numbers(w, *column, workers),
        Input::RequestText => w.opt_str(request.text.as_deref()),
        Input::RequestTokens => match &request.tokens {
            Some(tokens) => {
                let column = w.bin(tokens.len() * 4)?;
                for (entry, token) in column.chunks_exact_mut(4).zip(tokens) {
                    entry.copy_from_slice(&token.to_le_bytes());
                }
                Ok(())
            }
            None => w.nil(),
        },
        Input::PromptBytes => {
            w.uint(u64::try_from(request.text.as_deref().map_or(0, str::len)).unwrap_or(u64::MAX))
        }
        Input::PromptTokens => w.uint(request.prompt_tokens),
        Input::PromptTokensExact => w.uint(u64::from(request.prompt_tokens_exact)),
        Input::Model => w.opt_str(request.model.as_deref()),
        Input::Header(name) => {
            let header = request.headers.iter().find(|(header, _)| header == name);
            w.opt_str(header.map(|(_, value)| value.as_str()))
        }
        Input::Leg => w.uint(request.leg.number()),
        Input::Random => w.uint(random),
        Input::NowNs => w.uint(request.now_ns),
    }
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
