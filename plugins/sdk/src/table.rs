//! The worker table that the guest keeps between decisions.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use sgl_policy_abi::{
    DecodeError, Expected, KnownEngine, KnownModels, Labels, TableMessage, WorkerFacts, WorkerRole,
};

/// What is known about workers and rarely changes.
///
/// All texts lie in one buffer, and all labels and names of models in another: a thousand
/// workers cost a handful of allocations, which matters in a memory of 1 MiB.
#[derive(Debug, Default)]
pub struct Table {
    version: u64,
    texts: String,
    /// Labels and names of models as they came.
    encoded: Vec<u8>,
    workers: Vec<WorkerRow>,
}

#[derive(Debug)]
struct WorkerRow {
    url: Span,
    /// Empty range for a worker whose model is not known.
    model: Span,
    labels: Span,
    label_count: u32,
    role: WorkerRole,
    weight: f64,
    /// Empty range for a worker whose engine is not known.
    engine: Span,
    kv_capacity_tokens: Option<NonZeroU32>,
    block_size: Option<NonZeroU32>,
    max_running_requests: Option<NonZeroU32>,
    /// One more than the rank.
    after_dp_rank: Option<NonZeroU32>,
    /// Empty range for a worker whose models are not known.
    models: Span,
    model_count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    fn range(self) -> core::ops::Range<usize> {
        // Both were lengths of buffers in this memory.
        usize::try_from(self.start).unwrap_or(0)..usize::try_from(self.end).unwrap_or(0)
    }
}

/// The facts of one worker.
#[derive(Clone, Copy, Debug)]
pub struct TableWorker<'a> {
    /// Base address.
    pub url: &'a str,
    /// The model that it serves, if that is known.
    pub model: Option<&'a str>,
    /// What it is for.
    pub role: WorkerRole,
    /// Share of traffic that the operator gave it.
    pub weight: f64,
    /// Free-form labels.
    pub labels: Labels<'a>,
    /// What is known of its engine.
    pub engine: KnownEngine<'a>,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self { version: 0, texts: String::new(), encoded: Vec::new(), workers: Vec::new() }
    }

    /// Replaces the table by that of an `on_workers` message. After an error the table
    /// is what it was.
    ///
    /// Memory is what limits a fleet: the message is checked and measured first, then
    /// the old table goes before the new one is made, to its exact size.
    pub(crate) fn replace(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let message = TableMessage::decode(bytes)?;
        let sizes = Sizes::of(&message)?;
        *self = Self::new();
        self.version = message.version();
        self.texts.reserve_exact(sizes.texts);
        self.encoded.reserve_exact(sizes.encoded);
        self.workers.reserve_exact(message.len());
        for worker in message.workers() {
            self.push(&worker?).ok_or(DecodeError::OutOfRange { expected: Expected::Small })?;
        }
        Ok(())
    }

    fn push(&mut self, facts: &WorkerFacts<'_>) -> Option<()> {
        let model = self.push_common(facts.model.unwrap_or_default(), |last| last.model)?;
        let engine = self.push_common(facts.engine.name.unwrap_or_default(), |last| last.engine)?;
        let (encoded, count) = facts.labels.as_parts();
        let labels = self.push_encoded(encoded)?;
        let (models, model_count) = self.push_models(facts.engine.models)?;
        let url = self.push_text(facts.url)?;
        self.workers.push(WorkerRow {
            url,
            model,
            labels,
            label_count: u32::try_from(count).ok()?,
            role: facts.role,
            weight: facts.weight,
            engine,
            kv_capacity_tokens: facts.engine.kv_capacity_tokens.and_then(NonZeroU32::new),
            block_size: facts.engine.block_size.and_then(NonZeroU32::new),
            max_running_requests: facts.engine.max_running_requests.and_then(NonZeroU32::new),
            after_dp_rank: facts.engine.dp_rank.and_then(|rank| NonZeroU32::MIN.checked_add(rank)),
            models,
            model_count,
        });
        Some(())
    }

    /// A text that is most often the same as that of the last worker.
    fn push_common(&mut self, text: &str, of: impl Fn(&WorkerRow) -> Span) -> Option<Span> {
        match self.workers.last().map(of) {
            Some(last) if self.text(last) == text => Some(last),
            _ => self.push_text(text),
        }
    }

    /// Names of models, most often the same as those of the last worker.
    fn push_models(&mut self, models: Option<KnownModels<'_>>) -> Option<(Span, u32)> {
        let (encoded, count) = parts(models);
        let count = u32::try_from(count).ok()?;
        match self.workers.last().map(|last| last.models) {
            Some(last) if self.encoded.get(last.range()) == Some(encoded) => Some((last, count)),
            _ => Some((self.push_encoded(encoded)?, count)),
        }
    }

    fn push_encoded(&mut self, encoded: &[u8]) -> Option<Span> {
        let start = self.encoded.len();
        self.encoded.extend_from_slice(encoded);
        Span::new(start, self.encoded.len())
    }

    fn push_text(&mut self, text: &str) -> Option<Span> {
        let start = self.texts.len();
        self.texts.push_str(text);
        Span::new(start, self.texts.len())
    }

    fn text(&self, span: Span) -> &str {
        self.texts.get(span.range()).unwrap_or_default()
    }

    /// The version that decisions name.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Number of workers.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.workers.len()
    }

    /// True without workers.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// The facts of worker `index`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<TableWorker<'_>> {
        self.workers.get(index).map(|row| self.view(row))
    }

    /// The role of worker `index`.
    #[inline]
    #[must_use]
    pub fn role(&self, index: usize) -> Option<WorkerRole> {
        self.workers.get(index).map(|row| row.role)
    }

    /// All workers in table order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = TableWorker<'_>> {
        self.workers.iter().map(|row| self.view(row))
    }

    fn view(&self, row: &WorkerRow) -> TableWorker<'_> {
        let encoded = |span: Span| self.encoded.get(span.range()).unwrap_or_default();
        let count = |count: u32| usize::try_from(count).unwrap_or(0);
        TableWorker {
            url: self.text(row.url),
            model: Some(self.text(row.model)).filter(|model| !model.is_empty()),
            role: row.role,
            weight: row.weight,
            labels: Labels::from_parts(encoded(row.labels), count(row.label_count)),
            engine: KnownEngine {
                name: Some(self.text(row.engine)).filter(|name| !name.is_empty()),
                kv_capacity_tokens: row.kv_capacity_tokens.map(NonZeroU32::get),
                block_size: row.block_size.map(NonZeroU32::get),
                max_running_requests: row.max_running_requests.map(NonZeroU32::get),
                dp_rank: row.after_dp_rank.map(|after| after.get() - 1),
                models: KnownModels::from_parts(encoded(row.models), count(row.model_count)),
            },
        }
    }
}

/// The names as they came; nothing where they are not known.
fn parts(models: Option<KnownModels<'_>>) -> (&[u8], usize) {
    models.and_then(KnownModels::as_parts).unwrap_or_default()
}

/// Bytes that a table's texts, labels and names of models take.
#[derive(Default)]
struct Sizes {
    texts: usize,
    encoded: usize,
}

impl Sizes {
    /// Reads every worker once, so that an error shows before anything is replaced.
    fn of(message: &TableMessage<'_>) -> Result<Self, DecodeError> {
        let mut sizes = Self::default();
        let (mut last_model, mut last_engine, mut last_models) = ("", "", &[][..]);
        for worker in message.workers() {
            let worker = worker?;
            sizes.texts += worker.url.len();
            sizes.encoded += worker.labels.as_parts().0.len();
            // A fleet mostly serves one model; its name is kept once.
            let model = worker.model.unwrap_or_default();
            if model != last_model {
                sizes.texts += model.len();
                last_model = model;
            }
            let engine = worker.engine.name.unwrap_or_default();
            if engine != last_engine {
                sizes.texts += engine.len();
                last_engine = engine;
            }
            let (models, _) = parts(worker.engine.models);
            if models != last_models {
                sizes.encoded += models.len();
                last_models = models;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sgl_policy_abi::{encode_table, encode_to_vec, encode_worker};

    const MODELS: [Option<&str>; 7] = [None, Some("a"), Some("a"), None, Some("bc"), Some("bc"), Some("a")];

    fn names_of(model: Option<&str>) -> Vec<String> {
        model.map(|model| Vec::from([String::from(model), std::format!("{model}-sql")])).unwrap_or_default()
    }

    fn engine<'a>(name: Option<&'a str>, names: &'a [String]) -> KnownEngine<'a> {
        let models = KnownModels::new(names);
        KnownEngine { name, block_size: Some(16), models, ..KnownEngine::default() }
    }

    fn message(version: u64) -> Vec<u8> {
        let message = encode_to_vec(|w| {
            encode_table(w, version, MODELS.len())?;
            MODELS.iter().enumerate().try_for_each(|(index, model)| {
                let url = std::format!("http://{index}");
                let names: Vec<String> = names_of(*model);
                let facts = WorkerFacts {
                    url: &url,
                    model: *model,
                    role: WorkerRole::Decode,
                    weight: 0.5,
                    labels: Labels::default(),
                    engine: engine(*model, &names),
                };
                encode_worker(w, &facts, [("zone", "z"), ("n", url.as_str())].into_iter())
            })
        });
        message.unwrap()
    }

    #[test]
    fn table_keeps_every_fact_in_exactly_the_memory_that_it_needs() {
        let mut table = Table::new();
        table.replace(&message(5)).unwrap();
        assert_eq!((table.version(), table.len()), (5, MODELS.len()));
        for (index, (worker, model)) in table.iter().zip(MODELS).enumerate() {
            let url = std::format!("http://{index}");
            assert_eq!((worker.url, worker.model), (url.as_str(), model));
            assert_eq!((worker.role, worker.weight), (WorkerRole::Decode, 0.5));
            assert_eq!(worker.engine, engine(model, &names_of(model)));
            let labels: Vec<_> = worker.labels.iter().collect();
            assert_eq!(labels, [("zone", "z"), ("n", url.as_str())]);
        }
        assert_eq!(table.texts.len(), table.texts.capacity());
        assert_eq!(table.encoded.len(), table.encoded.capacity());
        assert_eq!(table.workers.len(), table.workers.capacity());
        let models = "a".len() + "bc".len() + "a".len();
        assert_eq!(
            table.texts.len(),
            MODELS.len() * "http://0".len() + 2 * models,
            "engines are named alike"
        );
        let [labels, a, bc] =
            [MODELS.len() * "?zone?z?n?http://0".len(), "?a?a-sql".len(), "?bc?bc-sql".len()];
        assert_eq!(table.encoded.len(), labels + 2 * a + bc, "lists that follow each other are kept once");
    }

    #[test]
    fn table_stays_as_it_was_after_a_malformed_message() {
        let mut table = Table::new();
        table.replace(&message(5)).unwrap();
        let good = message(6);
        for len in 0..good.len() {
            assert!(table.replace(&good[..len]).is_err());
            assert_eq!((table.version(), table.len()), (5, MODELS.len()));
        }
    }
}
