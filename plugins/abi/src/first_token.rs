//! The message of `on_first_token`: whose answers have begun, in batches.
//!
//! ```text
//! [table version, [[worker, tag, ms since sent], …]]
//! ```

use crate::batch::{self, BatchEntry, EventBatch, narrow, opt_uint, read_opt_uint};
use crate::error::{DecodeError, Full, Key};
use crate::reader::Reader;
use crate::writer::Writer;

/// A streamed answer whose first event came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FirstToken {
    /// Index of the worker in the batch's table.
    pub worker: u32,
    /// The tag that the policy gave with its answer.
    pub tag: Option<u64>,
    /// Milliseconds since the request was sent to the worker.
    pub ms: f32,
}

/// Elements of one entry.
const FIELDS: usize = 3;

impl BatchEntry for FirstToken {
    const KEY: Key = Key::FirstToken;

    fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.array(FIELDS)?;
        w.uint(u64::from(self.worker))?;
        opt_uint(w, self.tag)?;
        w.f32(self.ms)
    }

    #[expect(clippy::cast_possible_truncation, reason = "milliseconds are f32 on the wire")]
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let further = r.array()?.checked_sub(FIELDS).ok_or(DecodeError::Missing { key: Self::KEY })?;
        let first = Self { worker: narrow(r.uint()?)?, tag: read_opt_uint(r)?, ms: r.number()? as f32 };
        (0..further).try_for_each(|_| r.skip())?;
        Ok(first)
    }
}

/// A batch of answers that have begun.
pub type FirstTokenBatch<'a> = EventBatch<'a, FirstToken>;

/// Writes a batch about requests that were decided with version `table` of the worker table.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_first_tokens<'f, I>(w: &mut Writer<'_>, table: u64, first_tokens: I) -> Result<(), Full>
where
    I: ExactSizeIterator<Item = &'f FirstToken>,
{
    batch::encode(w, table, first_tokens)
}
