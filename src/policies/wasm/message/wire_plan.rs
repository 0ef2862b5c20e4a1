//! The question of a decision, in the wire form that a generation wants.
//!
//! It is written straight into the guest's input buffer. Each message has an upper bound that is
//! cheap to compute, so that the buffer is checked once.

use std::collections::HashMap;
use std::sync::Arc;

use sgl_policy_abi::{Column, ColumnWidth, Full, Input, RowWorker, Wire, Writer, encode_rows};

use crate::core::books;
use crate::core::books::KeptBooks;
use crate::core::candidate_workers::CandidateWorkers;
use crate::core::moment::Now;
use crate::core::report::WorkerReport;
use crate::core::worker::Worker;
use crate::policies::fleet_needs::FleetNeeds;
use crate::policies::select_worker_info::{RequestNeeds, SelectWorkerInfo};
use crate::policies::wanted_names::WantedNames;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::init::encoded_config;
use crate::policies::wasm::message::message_part::MessagePart;
use crate::policies::wasm::message::{cut, request_facts, table};

/// Bytes of the longest MessagePack header or number.
const HEADER: usize = 9;

/// What one generation wants to receive.
#[derive(Debug)]
pub struct WirePlan {
    form: FormPlan,
    needs: RequestNeeds,
    reads_reports: bool,
    /// Bytes that names of models may take in a worker table.
    model_name_bytes: usize,
    names: Option<Arc<WantedNames>>,
    /// Has the books kept that the generation reads.
    _books: Option<KeptBooks>,
}

#[derive(Debug)]
enum FormPlan {
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
    /// The same, by what is written together.
    parts: Box<[MessagePart]>,
    /// Inputs with one bit a worker.
    bit_columns: usize,
    /// Inputs with four bytes a worker.
    word_columns: usize,
    /// True if some input's size depends on the request.
    variable: bool,
    /// Bytes that each of those inputs may take.
    max_text_bytes: usize,
    /// Bytes that the route may take, if it is declared.
    route_bytes: usize,
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
            Wire::Columns => FormPlan::Columns(ColumnPlan::new(inputs, texts)),
            Wire::Rows => FormPlan::Rows(RowPlan { config: encoded_config(config), max_text_bytes: texts }),
        };
        let reads_books =
            inputs.iter().any(|input| matches!(input, Input::Column(column) if books::is_of_books(*column)));
        let is_reported = |column| WorkerReport::is_said_by_worker(column) || column == Column::ReportAgeMs;
        let reads_reports =
            inputs.iter().any(|input| matches!(input, Input::Column(column) if is_reported(*column)));
        let names = WantedNames::of(inputs);
        let names = (!names.is_empty()).then(|| Arc::new(names));
        let model_name_bytes = table::model_name_bytes_of(memory_bytes);
        let _books = reads_books.then(KeptBooks::new);
        Self { needs: needs(&form), reads_reports, model_name_bytes, names, form, _books }
    }

    /// Bytes that names of models may take in a worker table.
    pub(crate) fn model_name_bytes(&self) -> usize {
        self.model_name_bytes
    }

    /// What it wants by name.
    pub(crate) fn names(&self) -> Option<&Arc<WantedNames>> {
        self.names.as_ref()
    }

    pub(crate) fn needs(&self) -> RequestNeeds {
        self.needs
    }

    /// What it reads of workers.
    pub(crate) fn fleet_needs(&self) -> FleetNeeds {
        FleetNeeds { prefixes: self.needs.prefix_match, reports: self.reads_reports }
    }

    pub(crate) fn is_rows(&self) -> bool {
        matches!(self.form, FormPlan::Rows(_))
    }

    /// Bytes that the message takes at most.
    #[inline]
    pub fn bound<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        state: &[u8],
    ) -> usize {
        match &self.form {
            FormPlan::Columns(plan) => plan.bound(workers.len(), info),
            FormPlan::Rows(RowPlan { config, max_text_bytes }) => {
                let urls = (0..workers.len()).filter_map(|index| workers.worker(index));
                let rows: usize = urls.map(|worker| worker.url().len() + 48).sum();
                let text = cut::text(info.request_text, *max_text_bytes).map_or(0, str::len);
                rows + text + config.len() + state.len() + 96
            }
        }
    }

    /// Writes the message; `None` if it does not fit. `state` is used by the row form only.
    #[inline]
    pub fn encode<C: CandidateWorkers>(
        &self,
        buffer: &mut [u8],
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        state: &[u8],
        draw: Draw,
    ) -> Option<usize> {
        let mut writer = Writer::new(buffer);
        match &self.form {
            FormPlan::Columns(plan) => plan.encode(&mut writer, workers, info, draw).ok()?,
            FormPlan::Rows(plan) => rows(&mut writer, workers, info, plan, state).ok()?,
        }
        Some(writer.position())
    }
}

fn needs(form: &FormPlan) -> RequestNeeds {
    match form {
        FormPlan::Rows(_) => RequestNeeds { text: true, ..RequestNeeds::default() },
        FormPlan::Columns(plan) => plan.needs(),
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
            route_bytes: if inputs.contains(&Input::Route) { request_facts::MAX_ROUTE_BYTES } else { 0 },
            parts: MessagePart::of(inputs),
            inputs: inputs.into(),
        }
    }

    fn needs(&self) -> RequestNeeds {
        let mut needs = RequestNeeds::default();
        for input in &self.inputs {
            match input {
                Input::RequestText | Input::PromptBytes => needs.text = true,
                Input::RequestTokens => needs.tokens = true,
                Input::PromptTokens | Input::PromptTokensExact => needs.prompt_tokens = true,
                Input::MaxTokens => needs.max_tokens = true,
                Input::Stream => needs.stream = true,
                Input::Session => needs.session = true,
                Input::PrefixHashes => needs.prefix_hashes = true,
                Input::PrefixMatch => {
                    needs.prefix_hashes = true;
                    needs.prefix_match = true;
                }
                Input::ArrivalRate => needs.arrival_rate = true,
                Input::Model => needs.model = true,
                Input::Field(_) | Input::Query(_) => needs.names = true,
                Input::Column(column) => needs.prompt_tokens |= books::is_of_tokens(*column),
                Input::Healthy
                | Input::ClientKey
                | Input::Excluded
                | Input::Route
                | Input::Header(_)
                | Input::ConfigHeader(_)
                | Input::WaitedMs
                | Input::MayWaitMs
                | Input::Held
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
        let fixed = (self.inputs.len() + 2) * HEADER + columns + self.route_bytes;
        if self.variable { fixed + self.variable_bytes(info) } else { fixed }
    }

    fn variable_bytes(&self, info: &SelectWorkerInfo<'_>) -> usize {
        self.inputs.iter().map(|input| cut::len(input, info, self.max_text_bytes)).sum()
    }

    #[inline]
    fn encode<C: CandidateWorkers>(
        &self,
        writer: &mut Writer<'_>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        draw: Draw,
    ) -> Result<(), Full> {
        writer.array(1 + self.inputs.len())?;
        writer.uint(workers.version().get())?;
        let now = Now::default();
        for part in &self.parts {
            match part {
                MessagePart::One(input) => {
                    encode_input(writer, input, workers, info, draw, &now, self.max_text_bytes)?;
                }
                MessagePart::Columns(columns) => {
                    let (gap, out) = writer.bins(columns.len(), workers.len() * Column::WIDTH)?;
                    workers.fill_columns(columns, gap, out, &now);
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn encode_input<C: CandidateWorkers>(
    writer: &mut Writer<'_>,
    input: &Input,
    workers: &C,
    info: &SelectWorkerInfo<'_>,
    draw: Draw,
    now: &Now,
    limit: usize,
) -> Result<(), Full> {
    match input {
        Input::Column(column) => {
            workers.fill_at(*column, writer.bin(workers.len() * Column::WIDTH)?, now);
        }
        Input::PrefixMatch => prefix_match(writer.bin(workers.len() * Column::WIDTH)?, workers, info),
        Input::Healthy => healthy(writer.bin(workers.len().div_ceil(8))?, workers, info),
        Input::Excluded => excluded(writer.bin(workers.len().div_ceil(8))?, info),
        Input::PromptBytes => writer.uint(info.whole_prompt_bytes())?,
        Input::WaitedMs => writer.uint(info.offer().waited_ms())?,
        Input::MayWaitMs => writer.uint(info.offer().left_ms())?,
        Input::Held => writer.uint(u64::from(info.offer().held))?,
        Input::Leg => writer.uint(info.leg.number())?,
        Input::Random => writer.uint(draw.random())?,
        Input::NowNs => writer.uint(draw.now_ns())?,
        Input::PromptTokens
        | Input::PromptTokensExact
        | Input::MaxTokens
        | Input::Stream
        | Input::Route
        | Input::ArrivalRate => request_facts::encode(writer, input, info)?,
        Input::RequestText
        | Input::RequestTokens
        | Input::Session
        | Input::ClientKey
        | Input::PrefixHashes
        | Input::Model
        | Input::Header(_)
        | Input::ConfigHeader(_)
        | Input::Field(_)
        | Input::Query(_) => cut::encode(writer, input, info, limit)?,
    }
    Ok(())
}

fn prefix_match<C: CandidateWorkers>(out: &mut [u8], workers: &C, info: &SelectWorkerInfo<'_>) {
    match info.prefix_hashes {
        Some(hashes) if !hashes.is_empty() => workers.fill_prefix_match(hashes, info.block_tokens(), out),
        // The unknown value, -1.
        _ => out.fill(0xff),
    }
}

#[inline]
fn healthy<C: CandidateWorkers>(out: &mut [u8], workers: &C, info: &SelectWorkerInfo<'_>) {
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

fn rows<C: CandidateWorkers>(
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

#[cfg(test)]
mod tests {
    use sgl_policy_abi::Reader;

    use super::*;
    use crate::core::fleet::Fleet;
    use crate::core::worker::WorkerSpec;

    const INPUTS: [Input; 8] = [
        Input::Load,
        Input::Healthy,
        Input::Running,
        Input::TokensInFlight,
        Input::OldestPendingMs,
        Input::KvUsage,
        Input::Leg,
        Input::PrefillLoad,
    ];

    #[test]
    fn message_has_each_column_in_its_place_whatever_the_table() {
        let fleet = Fleet::new();
        let mut held = Vec::new();
        for workers in [0, 1, 3, 63, 64, 70, 300] {
            while fleet.table().len() < workers {
                let url = format!("http://{}", fleet.table().len());
                let worker = fleet.add(WorkerSpec::new(url), true).expect("a new URL");
                worker.increment_load();
                held.push(worker);
            }
            check(&fleet);
        }
        // A table with holes.
        for url in ["http://5", "http://70", "http://71", "http://299"] {
            fleet.remove(url).expect("it is there");
            check(&fleet);
        }
    }

    fn check(fleet: &Fleet) {
        let table = fleet.table();
        let plan = WirePlan::new(Wire::Columns, &INPUTS, &HashMap::new(), 1 << 20);
        let info = SelectWorkerInfo::default();
        let mut buffer = vec![0xEE; plan.bound(&*table, &info, &[])];
        let used = plan.encode(&mut buffer, &*table, &info, &[], Draw::Fresh).expect("it fits");
        let mut reader = Reader::new(&buffer[..used]);
        assert_eq!((reader.array(), reader.uint()), (Ok(INPUTS.len() + 1), Ok(table.version().get())));
        for input in &INPUTS {
            match input {
                Input::Column(column) => {
                    let mut expected = vec![0; table.len() * Column::WIDTH];
                    table.fill(*column, &mut expected);
                    assert_eq!(reader.bin(), Ok(&*expected), "{} of {}", column.name(), table.len());
                }
                _ => reader.skip().expect("an element"),
            }
        }
        assert_eq!(reader.finish(), Ok(()));
    }
}
