//! The message of `on_workers`: what is known about workers and rarely changes.

use crate::error::{DecodeError, Full, Key};
use crate::known_models::KnownModels;
use crate::reader::Reader;
use crate::worker_role::WorkerRole;
use crate::writer::Writer;

/// The facts of one worker, borrowed from whoever keeps them.
#[derive(Clone, Copy, Debug)]
pub struct WorkerFacts<'a> {
    /// Base address.
    pub url: &'a str,
    /// The model that it serves, if that is known.
    pub model: Option<&'a str>,
    /// What it is for.
    pub role: WorkerRole,
    /// Share of traffic that the operator gave it. Default 1.0.
    pub weight: f64,
    /// Free-form labels. Only used when reading; the writer takes its own iterator.
    pub labels: Labels<'a>,
    /// What is known of its engine. Default: nothing.
    pub engine: KnownEngine<'a>,
}

/// What is known of the engine of a worker; keys that are not known are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownEngine<'a> {
    /// Which one it is, such as `sglang`, `vllm` or `llamacpp`.
    pub name: Option<&'a str>,
    /// Tokens that its KV cache can hold.
    pub kv_capacity_tokens: Option<u32>,
    /// Tokens of a block of that cache.
    pub block_size: Option<u32>,
    /// Requests that it runs at the same time at most.
    pub max_running_requests: Option<u32>,
    /// Which data-parallel rank of its engine the worker is; none where an engine is one worker.
    pub dp_rank: Option<u32>,
    /// The names under which it serves: its models and their adapters (LoRA).
    pub models: Option<KnownModels<'a>>,
}

impl KnownEngine<'_> {
    /// The numbers with their keys.
    const fn numbers(&self) -> [(&'static str, Option<u32>); 4] {
        [
            ("kv_capacity_tokens", self.kv_capacity_tokens),
            ("block_size", self.block_size),
            ("max_running_requests", self.max_running_requests),
            ("dp_rank", self.dp_rank),
        ]
    }

    fn known(&self) -> usize {
        let numbers = self.numbers().iter().filter(|(_, number)| number.is_some()).count();
        usize::from(self.name.is_some()) + numbers + usize::from(self.models.is_some())
    }

    fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        if let Some(name) = self.name {
            w.str("engine")?;
            w.str(name)?;
        }
        for (key, number) in self.numbers() {
            if let Some(number) = number {
                w.str(key)?;
                w.uint(u64::from(number))?;
            }
        }
        let Some(models) = self.models else { return Ok(()) };
        w.str("models")?;
        models.encode(w)
    }
}

/// Labels inside a message, checked when the worker was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels<'a> {
    encoded: &'a [u8],
    count: usize,
}

impl<'a> Labels<'a> {
    /// The value of one label.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All labels as name and value.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut r = Reader::new(self.encoded);
        (0..self.count).map_while(move |_| Some((r.str().ok()?, r.str().ok()?)))
    }

    /// Number of labels.
    #[must_use]
    pub const fn len(self) -> usize {
        self.count
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The labels as a MessagePack map without its header, to be kept; see [`Labels::from_parts`].
    #[must_use]
    pub const fn as_parts(self) -> (&'a [u8], usize) {
        (self.encoded, self.count)
    }

    /// Labels that were kept as parts. Bytes that are no labels read as fewer labels.
    #[must_use]
    pub const fn from_parts(encoded: &'a [u8], count: usize) -> Self {
        Self { encoded, count }
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if r.nil() {
            return Ok(Self::default());
        }
        let count = r.map()?;
        let start = r.rest();
        for _ in 0..count {
            r.str()?;
            r.str()?;
        }
        let len = start.len().saturating_sub(r.rest().len());
        let encoded = start.get(..len).unwrap_or_default();
        Ok(Self { encoded, count })
    }
}

/// Writes the head of the message; [`encode_worker`] follows `workers` times.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_table(w: &mut Writer<'_>, version: u64, workers: usize) -> Result<(), Full> {
    w.map(2)?;
    w.str("version")?;
    w.uint(version)?;
    w.str("workers")?;
    w.array(workers)
}

/// Writes one worker of the table; its labels come from `labels`, not from `facts`.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_worker<'l, L>(w: &mut Writer<'_>, facts: &WorkerFacts<'_>, labels: L) -> Result<(), Full>
where
    L: ExactSizeIterator<Item = (&'l str, &'l str)>,
{
    w.map(5 + facts.engine.known())?;
    w.str("url")?;
    w.str(facts.url)?;
    w.str("model")?;
    w.opt_str(facts.model)?;
    w.str("role")?;
    w.str(facts.role.as_str())?;
    w.str("weight")?;
    w.f64(facts.weight)?;
    w.str("labels")?;
    w.map(labels.len())?;
    for (name, value) in labels {
        w.str(name)?;
        w.str(value)?;
    }
    facts.engine.encode(w)
}

/// A table message, whose workers are read one by one.
#[derive(Clone, Copy, Debug)]
pub struct TableMessage<'a> {
    version: u64,
    count: usize,
    workers: Reader<'a>,
}

impl<'a> TableMessage<'a> {
    /// Reads the message's head and checks that all of it is well formed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut version = None;
        let mut workers = None;
        let mut r = Reader::new(bytes);
        for _ in 0..r.map()? {
            match r.str()? {
                "version" => version = Some(r.uint()?),
                "workers" => {
                    let mut rows = r;
                    workers = Some((rows.array()?, rows));
                    r.skip()?;
                }
                _ => r.skip()?,
            }
        }
        r.finish()?;
        let version = version.ok_or(DecodeError::Missing { key: Key::Version })?;
        let (count, workers) = workers.ok_or(DecodeError::Missing { key: Key::Workers })?;
        Ok(Self { version, count, workers })
    }

    /// The table's version; decisions name the version that their columns belong to.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Number of workers.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// True without workers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The workers in table order.
    pub fn workers(&self) -> impl Iterator<Item = Result<WorkerFacts<'a>, DecodeError>> + use<'a> {
        let mut r = self.workers;
        (0..self.count).map(move |_| decode_worker(&mut r))
    }
}

fn decode_worker<'a>(r: &mut Reader<'a>) -> Result<WorkerFacts<'a>, DecodeError> {
    let mut url = None;
    let mut facts = WorkerFacts {
        url: "",
        model: None,
        role: WorkerRole::default(),
        weight: 1.0,
        labels: Labels::default(),
        engine: KnownEngine::default(),
    };
    for _ in 0..r.map()? {
        match r.str()? {
            "url" => url = Some(r.str()?),
            "model" => facts.model = r.opt_str()?,
            "role" => facts.role = WorkerRole::from_word(r.str()?)?,
            "weight" => facts.weight = r.number()?,
            "labels" => facts.labels = Labels::decode(r)?,
            "engine" => facts.engine.name = r.opt_str()?,
            "kv_capacity_tokens" => facts.engine.kv_capacity_tokens = number(r)?,
            "block_size" => facts.engine.block_size = number(r)?,
            "max_running_requests" => facts.engine.max_running_requests = number(r)?,
            "dp_rank" => facts.engine.dp_rank = number(r)?,
            "models" => facts.engine.models = KnownModels::decode(r)?,
            _ => r.skip()?,
        }
    }
    facts.url = url.ok_or(DecodeError::Missing { key: Key::Url })?;
    Ok(facts)
}

/// A number that may be unknown: nil, or beyond what a fact can be.
fn number(r: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
    if r.nil() {
        return Ok(None);
    }
    Ok(u32::try_from(r.uint()?).ok())
}
