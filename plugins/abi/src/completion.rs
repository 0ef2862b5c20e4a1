//! The message of `on_complete`: how requests ended, in batches.
//!
//! ```text
//! [table version, [[worker, ok, status, first_byte_ms, total_ms, prompt_tokens, completion_tokens,
//!                   cached_tokens, tag], …]]
//! ```
//! What is not known is nil. The first seven elements are those of the first routers, whose entries end
//! there; what came later is behind them, so that modules of that time read the entries of today.

use crate::batch::{self, BatchEntry, EventBatch, narrow, opt_f32, opt_uint, read_opt_f32, read_opt_uint};
use crate::error::{DecodeError, Full, Key};
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
    /// HTTP status of the worker's answer, or the code of the error that its stream told of; 502 if there
    /// was no answer or it broke off. None if the request was cancelled: the client went away.
    pub status: Option<u16>,
    /// Milliseconds until the first byte of the answer.
    pub first_byte_ms: Option<f32>,
    /// Milliseconds until the end.
    pub total_ms: Option<f32>,
    /// Tokens of the prompt, as the worker counted them.
    pub prompt_tokens: Option<u32>,
    /// Tokens that were generated, as the worker counted them.
    pub completion_tokens: Option<u32>,
    /// Tokens of the prompt that the worker had in its cache, if it says so.
    pub cached_tokens: Option<u32>,
    /// The tag that the policy gave with its answer.
    pub tag: Option<u64>,
}

/// Elements that every entry has.
const NEEDED: usize = 7;

/// Elements that are written.
const FIELDS: usize = 9;

impl BatchEntry for Completion {
    const KEY: Key = Key::Completion;

    fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.array(FIELDS)?;
        w.uint(u64::from(self.worker))?;
        w.bool(self.ok)?;
        opt_uint(w, self.status.map(u64::from))?;
        opt_f32(w, self.first_byte_ms)?;
        opt_f32(w, self.total_ms)?;
        opt_uint(w, self.prompt_tokens.map(u64::from))?;
        opt_uint(w, self.completion_tokens.map(u64::from))?;
        opt_uint(w, self.cached_tokens.map(u64::from))?;
        opt_uint(w, self.tag)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut further = r.array()?.checked_sub(NEEDED).ok_or(DecodeError::Missing { key: Self::KEY })?;
        let mut completion = Self {
            worker: narrow(r.uint()?)?,
            ok: r.bool()?,
            status: read_opt_uint(r)?,
            first_byte_ms: read_opt_f32(r)?,
            total_ms: read_opt_f32(r)?,
            prompt_tokens: read_opt_uint(r)?,
            completion_tokens: read_opt_uint(r)?,
            ..Self::default()
        };
        let mut has_more = || {
            let rest = further.checked_sub(1);
            further = rest.unwrap_or(0);
            rest.is_some()
        };
        if has_more() {
            completion.cached_tokens = read_opt_uint(r)?;
        }
        if has_more() {
            completion.tag = read_opt_uint(r)?;
        }
        (0..further).try_for_each(|_| r.skip())?;
        Ok(completion)
    }
}

/// A batch of finished requests.
pub type CompletionBatch<'a> = EventBatch<'a, Completion>;

/// Writes a batch of requests that were decided with version `table` of the worker table.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_completions<'c, I>(w: &mut Writer<'_>, table: u64, completions: I) -> Result<(), Full>
where
    I: ExactSizeIterator<Item = &'c Completion>,
{
    batch::encode(w, table, completions)
}
