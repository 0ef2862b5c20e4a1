//! Messages to guests and their answers, in both wire forms.
//!
//! Everything is written straight into the guest's input buffer. Each message has an upper bound
//! that is cheap to compute, so that the buffer is checked once.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;

use serde::Serialize;
use sgl_policy_abi::Answer;
use sgl_policy_abi::ColumnWidth;
use sgl_policy_abi::DecodeError;
use sgl_policy_abi::Full;
use sgl_policy_abi::Input;
use sgl_policy_abi::Labels;
use sgl_policy_abi::PairAnswer;
use sgl_policy_abi::Role;
use sgl_policy_abi::RowWorker;
use sgl_policy_abi::Wire;
use sgl_policy_abi::WorkerFacts;
use sgl_policy_abi::Writer;
use sgl_policy_abi::encode_rows;
use sgl_policy_abi::encode_table;
use sgl_policy_abi::encode_worker;

use crate::core::candidates::Candidates;
use crate::core::worker::Worker;
use crate::core::worker::WorkerRole;
use crate::policies::decision::FailureCause;
use crate::policies::info::RequestNeeds;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::wasm::message::cut;
use sgl_policy_abi::Column;

/// Characters of a plugin's reason that are kept.
const MAX_REASON_CHARS: usize = 1000;

/// Bytes of the longest MessagePack header or number.
const HEADER: usize = 9;

/// What differs from decision to decision without being asked for.
#[derive(Clone, Copy, Debug)]
pub enum Draw {
    /// New for this message.
    Fresh,
    /// The same for two messages that are to be compared.
    Same {
        /// The `random` input.
        random: u64,
        /// The `now_ns` input.
        now_ns: u64,
    },
}

impl Draw {
    /// A draw that can be used twice.
    pub(crate) fn shared() -> Self {
        Self::Same { random: fastrand::u64(..), now_ns: now_ns() }
    }

    #[inline]
    fn random(self) -> u64 {
        match self {
            Self::Fresh => fastrand::u64(..),
            Self::Same { random, .. } => random,
        }
    }

    #[inline]
    fn now_ns(self) -> u64 {
        match self {
            Self::Fresh => now_ns(),
            Self::Same { now_ns, .. } => now_ns,
        }
    }
}

/// What one generation wants to be sent.
#[derive(Debug)]
pub struct WirePlan {
    form: Form,
    needs: RequestNeeds,
}

#[derive(Debug)]
enum Form {
    Columns(ColumnPlan),
    Rows(RowPlan),
}

#[derive(Debug)]
struct RowPlan {
    /// The encoded configuration map.
    config: Vec<u8>,
    /// Bytes that the prompt may take.
    max_text_bytes: usize,
}

#[derive(Debug)]
struct ColumnPlan {
    inputs: Box<[Input]>,
    /// Inputs with one bit a worker.
    bit_columns: usize,
    /// Inputs with four bytes a worker.
    word_columns: usize,
    /// True if some input's size depends on the request.
    variable: bool,
    /// Bytes that each of those inputs may take.
    max_text_bytes: usize,
}

impl WirePlan {
    /// The plan of a generation whose instances have `memory_bytes` of memory.
    pub fn new(
        wire: Wire,
        inputs: &[Input],
        config: &HashMap<String, serde_json::Value>,
        memory_bytes: usize,
    ) -> Self {
        let texts = cut::bytes_of(memory_bytes);
        let form = match wire {
            Wire::Columns => Form::Columns(ColumnPlan::new(inputs, texts)),
            Wire::Rows => Form::Rows(RowPlan { config: encoded_config(config), max_text_bytes: texts }),
        };
        Self { needs: needs(&form), form }
    }

    pub(crate) fn needs(&self) -> RequestNeeds {
        self.needs
    }

    pub(crate) fn is_rows(&self) -> bool {
        matches!(self.form, Form::Rows(_))
    }

    /// Bytes that the message takes at most.
    #[inline]
    pub fn bound<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        state: &[u8],
    ) -> usize {
        match &self.form {
            Form::Columns(plan) => plan.bound(workers.len(), info),
            Form::Rows(RowPlan { config, max_text_bytes }) => {
                let urls = (0..workers.len()).filter_map(|index| workers.worker(index));
                let rows: usize = urls.map(|worker| worker.url().len() + 48).sum();
                let text = cut::text(info.request_text, *max_text_bytes).map_or(0, str::len);
                rows + text + config.len() + state.len() + 96
            }
        }
    }

    /// Writes the message; `None` if it does not fit. `state` is used by the row form only.
    #[inline]
    pub fn encode<C: Candidates + ?Sized>(
        &self,
        buffer: &mut [u8],
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        state: &[u8],
        draw: Draw,
    ) -> Option<usize> {
        let mut writer = Writer::new(buffer);
        match &self.form {
            Form::Columns(plan) => plan.encode(&mut writer, workers, info, draw).ok()?,
            Form::Rows(plan) => rows(&mut writer, workers, info, plan, state).ok()?,
        }
        Some(writer.position())
    }
}

fn needs(form: &Form) -> RequestNeeds {
    match form {
        Form::Rows(_) => RequestNeeds { text: true, ..RequestNeeds::default() },
        Form::Columns(plan) => plan.needs(),
    }
}

impl ColumnPlan {
    fn new(inputs: &[Input], texts: usize) -> Self {
        let count = |width| inputs.iter().filter(|input| input.column_width() == Some(width)).count();
        let variables = inputs.iter().filter(|input| cut::is_variable(input)).count();
        Self {
            bit_columns: count(ColumnWidth::Bit),
            word_columns: count(ColumnWidth::Word),
            variable: variables > 0,
            max_text_bytes: (texts / variables.max(1)).next_multiple_of(4), // whole tokens
            inputs: inputs.into(),
        }
    }

    fn needs(&self) -> RequestNeeds {
        let mut needs = RequestNeeds::default();
        for input in &self.inputs {
            match input {
                Input::RequestText | Input::PromptBytes => needs.text = true,
                Input::RequestTokens => needs.tokens = true,
                Input::Model => needs.model = true,
                Input::Healthy
                | Input::Excluded
                | Input::Column(_)
                | Input::Header(_)
                | Input::Leg
                | Input::Random
                | Input::NowNs => {}
            }
        }
        needs
    }

    #[inline]
    fn bound(&self, workers: usize, info: &SelectWorkerInfo<'_>) -> usize {
        let columns = self.bit_columns * workers.div_ceil(8) + self.word_columns * workers * Column::WIDTH;
        let fixed = (self.inputs.len() + 2) * HEADER + columns;
        if self.variable { fixed + self.variable_bytes(info) } else { fixed }
    }

    fn variable_bytes(&self, info: &SelectWorkerInfo<'_>) -> usize {
        self.inputs.iter().map(|input| cut::len(input, info, self.max_text_bytes)).sum()
    }

    #[inline]
    fn encode<C: Candidates + ?Sized>(
        &self,
        writer: &mut Writer<'_>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        draw: Draw,
    ) -> Result<(), Full> {
        writer.array(1 + self.inputs.len())?;
        writer.uint(workers.version().get())?;
        for input in &self.inputs {
            encode_input(writer, input, workers, info, draw, self.max_text_bytes)?;
        }
        Ok(())
    }
}

#[inline]
fn encode_input<C: Candidates + ?Sized>(
    writer: &mut Writer<'_>,
    input: &Input,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    draw: Draw,
    limit: usize,
) -> Result<(), Full> {
    match input {
        Input::Column(column) => workers.fill(*column, writer.bin(workers.len() * Column::WIDTH)?),
        Input::Healthy => healthy(writer.bin(workers.len().div_ceil(8))?, workers, info),
        Input::Excluded => excluded(writer.bin(workers.len().div_ceil(8))?, info),
        Input::PromptBytes => writer.uint(info.whole_prompt_bytes())?,
        Input::Leg => writer.uint(info.leg.number())?,
        Input::Random => writer.uint(draw.random())?,
        Input::NowNs => writer.uint(draw.now_ns())?,
        Input::RequestText | Input::RequestTokens | Input::Model | Input::Header(_) => {
            cut::encode(writer, input, info, limit)?;
        }
    }
    Ok(())
}

#[inline]
fn healthy<C: Candidates + ?Sized>(out: &mut [u8], workers: &C, info: &SelectWorkerInfo<'_>) {
    workers.fill_healthy(out);
    if let Some(eligible) = info.eligible {
        let members = eligible.as_bytes().iter().copied().chain(std::iter::repeat(0));
        out.iter_mut().zip(members).for_each(|(byte, members)| *byte &= members);
    }
}

#[inline]
fn excluded(out: &mut [u8], info: &SelectWorkerInfo<'_>) {
    let Some(set) = info.excluded else { return out.fill(0) };
    let members = set.as_bytes().iter().copied().chain(std::iter::repeat(0));
    out.iter_mut().zip(members).for_each(|(byte, members)| *byte = members);
}

fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn rows<C: Candidates + ?Sized>(
    writer: &mut Writer<'_>,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    plan: &RowPlan,
    state: &[u8],
) -> Result<(), Full> {
    let row = |index| RowWorker {
        url: workers.worker(index).map_or("", Worker::url),
        // The row form has one flag for "may be chosen": health, and what the request admits.
        healthy: workers.is_healthy(index) && info.admits(index),
        load: i64::try_from(workers.load(index)).unwrap_or(i64::MAX),
    };
    let text = cut::text(info.request_text, plan.max_text_bytes);
    encode_rows(writer, (0..workers.len()).map(row), text, &plan.config, state)
}

/// Bytes that [`encode_workers`] takes at most.
pub(crate) fn workers_bound<C: Candidates + ?Sized>(workers: &C) -> usize {
    let bytes = |worker: &dyn Worker| {
        let labels: usize = worker.labels().iter().map(|(key, value)| key.len() + value.len() + 10).sum();
        worker.url().len() + worker.model_id().map_or(0, str::len) + labels + 80
    };
    let all: usize = (0..workers.len()).filter_map(|index| workers.worker(index)).map(bytes).sum();
    all + 64
}

/// Writes the static facts of all workers; `None` if they do not fit.
pub(crate) fn encode_workers<C: Candidates + ?Sized>(buffer: &mut [u8], workers: &C) -> Option<usize> {
    let mut writer = Writer::new(buffer);
    encode_table(&mut writer, workers.version().get(), workers.len()).ok()?;
    for index in 0..workers.len() {
        let worker = workers.worker(index)?;
        let facts = WorkerFacts {
            url: worker.url(),
            model: worker.model_id(),
            role: match workers.role(index) {
                WorkerRole::Regular => Role::Regular,
                WorkerRole::Prefill => Role::Prefill,
                WorkerRole::Decode => Role::Decode,
            },
            weight: worker.weight(),
            labels: Labels::default(),
        };
        let labels = worker.labels().iter().map(|(key, value)| (key.as_str(), value.as_str()));
        encode_worker(&mut writer, &facts, labels).ok()?;
    }
    Some(writer.position())
}

/// What a guest chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<T> {
    /// This worker, or this pair.
    Chosen(T),
    /// None.
    Nobody,
    /// It reports an error of its own. Boxed, as the next: a choice is moved through the decision.
    Error(Box<str>),
    /// The answer is not what the ABI asks for.
    Malformed(Box<DecodeError>),
}

/// The cause of failure that a choice which cannot be acted on counts as.
pub(crate) fn cause_of<T>(choice: &Choice<T>) -> FailureCause {
    match choice {
        Choice::Chosen(_) | Choice::Nobody => FailureCause::InvalidChoice,
        Choice::Error(_) => FailureCause::GuestError,
        Choice::Malformed(_) => FailureCause::Decode,
    }
}

/// A decoded answer.
#[derive(Debug)]
pub struct Reply<T> {
    /// The choice.
    pub choice: Choice<T>,
    /// What else came with it. Boxed: most answers are bare numbers.
    pub more: Option<Box<More>>,
}

/// What a guest may add to its choice.
#[derive(Debug)]
pub struct More {
    /// The new encoded state of a row-form plugin.
    pub state: Option<Vec<u8>>,
    /// Numbers for the workers, `f32` little-endian.
    pub scores: Vec<f32>,
    /// A sentence.
    pub reason: Option<String>,
}

impl More {
    #[cold]
    fn of(state: Option<&[u8]>, scores: Option<&[u8]>, reason: Option<&str>) -> Option<Box<Self>> {
        if state.is_none() && scores.is_none() && reason.is_none() {
            return None;
        }
        let (words, _) = scores.unwrap_or_default().as_chunks();
        Some(Box::new(Self {
            state: state.map(<[u8]>::to_vec),
            scores: words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            reason: reason.map(|reason| reason.chars().take(MAX_REASON_CHARS).collect()),
        }))
    }
}

impl<T> Reply<T> {
    fn of(choice: Choice<T>) -> Self {
        Self { choice, more: None }
    }
}

/// An answer of `select_worker`. An index that is no index is a choice beyond every table.
#[inline]
pub fn decode_choice(bytes: &[u8]) -> Reply<usize> {
    match Answer::decode(bytes) {
        Ok(Answer::Index(index)) => Reply::of(Choice::Chosen(index_of(index))),
        Ok(Answer::NoChoice) => Reply::of(Choice::Nobody),
        Ok(Answer::Map(map)) => {
            let choice = match (map.error, map.selected_worker) {
                (Some(error), _) => Choice::Error(error.into()),
                (None, Some(index)) => Choice::Chosen(index_of(index)),
                (None, None) => Choice::Nobody,
            };
            Reply { choice, more: More::of(map.state, map.scores, map.reason) }
        }
        Err(error) => Reply::of(Choice::Malformed(Box::new(error))),
    }
}

/// An answer of `select_worker_pair`: prefill, then decode.
pub(crate) fn decode_pair(bytes: &[u8]) -> Reply<(usize, usize)> {
    let answer = match PairAnswer::decode(bytes) {
        Ok(answer) => answer,
        Err(error) => return Reply::of(Choice::Malformed(Box::new(error))),
    };
    let (error, reason) = match &answer {
        PairAnswer::Map(map) => (map.error, map.reason),
        _ => (None, None),
    };
    let choice = match (error, answer.selected()) {
        (Some(error), _) => Choice::Error(error.into()),
        (None, Some((prefill, decode))) => Choice::Chosen((index_of(prefill), index_of(decode))),
        (None, None) => Choice::Nobody,
    };
    Reply { choice, more: More::of(None, None, reason) }
}

#[inline]
fn index_of(index: i64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// A plugin's configuration as an encoded map, keys sorted, so that equal configurations are
/// equal bytes.
pub(crate) fn encoded_config(config: &HashMap<String, serde_json::Value>) -> Vec<u8> {
    let sorted: BTreeMap<_, _> = config.iter().collect();
    // Writing to memory does not fail, and every JSON value has a MessagePack form.
    rmp_serde::to_vec_named(&sorted).unwrap_or_default()
}

/// What `init` is told, in the form of the ABI's `Init`.
#[derive(Debug, Serialize)]
pub(crate) struct InitMessage<'a> {
    pub(crate) abi: u32,
    pub(crate) plugin: &'a str,
    pub(crate) generation: u64,
    pub(crate) config: &'a HashMap<String, serde_json::Value>,
    /// Different for each instance.
    pub(crate) seed: u64,
}

impl InitMessage<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // As above.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }
}
