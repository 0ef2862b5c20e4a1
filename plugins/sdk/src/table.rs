//! The worker table that the guest keeps between decisions.

use alloc::string::String;
use alloc::vec::Vec;

use sgl_policy_abi::DecodeError;
use sgl_policy_abi::Expected;
use sgl_policy_abi::Labels;
use sgl_policy_abi::Role;
use sgl_policy_abi::TableMessage;
use sgl_policy_abi::WorkerFacts;

/// What is known about workers and rarely changes.
///
/// All texts lie in one buffer and all labels in another: a thousand workers cost
/// a handful of allocations, which matters in a memory of 1 MiB.
#[derive(Debug, Default)]
pub struct Table {
    version: u64,
    texts: String,
    labels: Vec<u8>,
    workers: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    url: Span,
    /// Empty range for a worker whose model is not known.
    model: Span,
    labels: Span,
    label_count: u32,
    role: Role,
    weight: f64,
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
    pub role: Role,
    /// Share of traffic that the operator gave it.
    pub weight: f64,
    /// Free-form labels.
    pub labels: Labels<'a>,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self { version: 0, texts: String::new(), labels: Vec::new(), workers: Vec::new() }
    }

    /// Reads an `on_workers` message into a new table.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = TableMessage::decode(bytes)?;
        let mut table = Self { version: message.version(), ..Self::new() };
        for worker in message.workers() {
            table.push(&worker?).ok_or(DecodeError::OutOfRange { expected: Expected::Small })?;
        }
        Ok(table)
    }

    fn push(&mut self, facts: &WorkerFacts<'_>) -> Option<()> {
        let url = self.texts.len();
        self.texts.push_str(facts.url);
        let model = self.texts.len();
        self.texts.push_str(facts.model.unwrap_or_default());
        let (encoded, count) = facts.labels.as_parts();
        let labels = self.labels.len();
        self.labels.extend_from_slice(encoded);
        self.workers.push(Entry {
            url: Span::new(url, model)?,
            model: Span::new(model, self.texts.len())?,
            labels: Span::new(labels, self.labels.len())?,
            label_count: u32::try_from(count).ok()?,
            role: facts.role,
            weight: facts.weight,
        });
        Some(())
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
        self.workers.get(index).map(|entry| self.view(entry))
    }

    /// The role of worker `index`.
    #[inline]
    #[must_use]
    pub fn role(&self, index: usize) -> Option<Role> {
        self.workers.get(index).map(|entry| entry.role)
    }

    /// All workers in table order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = TableWorker<'_>> {
        self.workers.iter().map(|entry| self.view(entry))
    }

    fn view(&self, entry: &Entry) -> TableWorker<'_> {
        let text = |span: Span| self.texts.get(span.range()).unwrap_or_default();
        let labels = self.labels.get(entry.labels.range()).unwrap_or_default();
        TableWorker {
            url: text(entry.url),
            model: Some(text(entry.model)).filter(|model| !model.is_empty()),
            role: entry.role,
            weight: entry.weight,
            labels: Labels::from_parts(labels, usize::try_from(entry.label_count).unwrap_or(0)),
        }
    }
}
