//! The message of `on_session_end`: which sessions are over, in batches.
//!
//! ```text
//! [[session, …]]
//! ```
//!
//! Further elements of the outer array are ignored.

use crate::error::{DecodeError, Full, Key};
use crate::reader::Reader;
use crate::writer::Writer;

/// Writes a batch.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_session_ends<'s, I>(w: &mut Writer<'_>, sessions: I) -> Result<(), Full>
where
    I: ExactSizeIterator<Item = &'s str>,
{
    w.array(1)?;
    w.array(sessions.len())?;
    for session in sessions {
        w.str(session)?;
    }
    Ok(())
}

/// Sessions that are over, which are read one by one.
#[derive(Clone, Copy, Debug)]
pub struct SessionEndBatch<'a> {
    count: usize,
    sessions: Reader<'a>,
}

impl<'a> SessionEndBatch<'a> {
    /// Reads the batch's head and checks that all of it is well formed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let extra = r.array()?.checked_sub(1).ok_or(DecodeError::Missing { key: Key::SessionEnd })?;
        let mut sessions = r;
        let count = sessions.array()?;
        r.skip()?;
        (0..extra).try_for_each(|_| r.skip())?;
        r.finish()?;
        Ok(Self { count, sessions })
    }

    /// Number of sessions.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// True without sessions.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their keys, in the order in which they were ended.
    pub fn iter(&self) -> impl Iterator<Item = Result<&'a str, DecodeError>> + use<'a> {
        let mut r = self.sessions;
        (0..self.count).map(move |_| r.str())
    }
}
