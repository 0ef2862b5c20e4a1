//! The message of `on_complete`: how requests ended, in batches.
//!
//! ```text
//! [table version, [[worker, ok, status, first_byte_ms, total_ms, prompt_tokens, completion_tokens], …]]
//! ```
//! Worker indices belong to that version of the table: a guest that has another
//! one drops the batch. What is not known is nil. Further elements of an entry
//! are ignored.

use crate::error::{DecodeError, Expected, Full, Key};
use crate::reader::Reader;
use crate::writer::Writer;

/// How one request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Completion {
    /// Index of the worker in the batch's table.
    pub worker: u32,
    /// True if the worker answered, with success or a refusal for the request's own sake, and the answer
    /// was delivered in full. False also if the client went away or the worker was full.
    pub ok: bool,
    /// HTTP status of the worker's answer; none if there was no answer.
    pub status: Option<u16>,
    /// Milliseconds until the first byte of the answer.
    pub first_byte_ms: Option<f32>,
    /// Milliseconds until the end.
    pub total_ms: Option<f32>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens that were generated.
    pub completion_tokens: Option<u32>,
}

/// Elements of one entry on the wire.
const FIELDS: usize = 7;

impl Completion {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.array(FIELDS)?;
        w.uint(u64::from(self.worker))?;
        w.bool(self.ok)?;
        opt_uint(w, self.status.map(u64::from))?;
        opt_f32(w, self.first_byte_ms)?;
        opt_f32(w, self.total_ms)?;
        opt_uint(w, self.prompt_tokens.map(u64::from))?;
        opt_uint(w, self.completion_tokens.map(u64::from))
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let extra = r.array()?.checked_sub(FIELDS).ok_or(DecodeError::Missing { key: Key::Completion })?;
        let completion = Self {
            worker: narrow(r.uint()?)?,
            ok: r.bool()?,
            status: read_opt_uint(r)?,
            first_byte_ms: read_opt_f32(r)?,
            total_ms: read_opt_f32(r)?,
            prompt_tokens: read_opt_uint(r)?,
            completion_tokens: read_opt_uint(r)?,
        };
        (0..extra).try_for_each(|_| r.skip())?;
        Ok(completion)
    }
}

/// Writes a batch of requests that were decided with version `table` of the worker table.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_completions<'c, I>(w: &mut Writer<'_>, table: u64, completions: I) -> Result<(), Full>
where
    I: ExactSizeIterator<Item = &'c Completion>,
{
    w.array(2)?;
    w.uint(table)?;
    w.array(completions.len())?;
    for completion in completions {
        completion.encode(w)?;
    }
    Ok(())
}

/// A batch, whose entries are read one by one.
#[derive(Clone, Copy, Debug)]
pub struct CompletionBatch<'a> {
    table: u64,
    count: usize,
    entries: Reader<'a>,
}

impl<'a> CompletionBatch<'a> {
    /// Reads the batch's head and checks that all of it is well formed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let extra = r.array()?.checked_sub(2).ok_or(DecodeError::Missing { key: Key::Completion })?;
        let table = r.uint()?;
        let mut entries = r;
        let count = entries.array()?;
        r.skip()?;
        (0..extra).try_for_each(|_| r.skip())?;
        r.finish()?;
        Ok(Self { table, count, entries })
    }

    /// The table version that worker indices belong to.
    #[must_use]
    pub const fn table(&self) -> u64 {
        self.table
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// True without entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Result<Completion, DecodeError>> + use<'a> {
        let mut r = self.entries;
        (0..self.count).map(move |_| Completion::decode(&mut r))
    }
}

fn opt_uint(w: &mut Writer<'_>, value: Option<u64>) -> Result<(), Full> {
    match value {
        Some(value) => w.uint(value),
        None => w.nil(),
    }
}

fn opt_f32(w: &mut Writer<'_>, value: Option<f32>) -> Result<(), Full> {
    match value {
        Some(value) => w.f32(value),
        None => w.nil(),
    }
}

fn narrow<T: TryFrom<u64>>(value: u64) -> Result<T, DecodeError> {
    T::try_from(value).map_err(|_| DecodeError::OutOfRange { expected: Expected::Small })
}

fn read_opt_uint<T: TryFrom<u64>>(r: &mut Reader<'_>) -> Result<Option<T>, DecodeError> {
    if r.nil() { Ok(None) } else { narrow(r.uint()?).map(Some) }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds are f32 on the wire")]
fn read_opt_f32(r: &mut Reader<'_>) -> Result<Option<f32>, DecodeError> {
    if r.nil() { Ok(None) } else { r.number().map(|value| Some(value as f32)) }
}
