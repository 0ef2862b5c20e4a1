//! A batch of events about requests that were placed: `[table version, [entry, …]]`.
//!
//! Worker indices belong to that version of the table: a guest that has another one drops the batch.
//! Further elements of a batch, and of an entry, are ignored.

use core::fmt;
use core::marker::PhantomData;

use crate::error::{DecodeError, Expected, Full, Key};
use crate::reader::Reader;
use crate::writer::Writer;

/// One entry of a batch.
pub trait BatchEntry: Copy + fmt::Debug {
    /// What an entry, or a batch of them, is called where it is malformed.
    #[doc(hidden)]
    const KEY: Key;

    /// Writes the entry.
    #[doc(hidden)]
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full>;

    /// Reads the entry.
    #[doc(hidden)]
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Writes a batch about requests that were decided with version `table` of the worker table.
///
/// # Errors
/// [`Full`] if it does not fit.
pub(crate) fn encode<'e, E, I>(w: &mut Writer<'_>, table: u64, entries: I) -> Result<(), Full>
where
    E: BatchEntry + 'e,
    I: ExactSizeIterator<Item = &'e E>,
{
    w.array(2)?;
    w.uint(table)?;
    w.array(entries.len())?;
    for entry in entries {
        entry.encode(w)?;
    }
    Ok(())
}

/// A batch, whose entries are read one by one.
#[derive(Clone, Copy, Debug)]
pub struct EventBatch<'a, E> {
    table: u64,
    count: usize,
    entries: Reader<'a>,
    of: PhantomData<E>,
}

impl<'a, E: BatchEntry> EventBatch<'a, E> {
    /// Reads the batch's head and checks that all of it is well formed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let extra = r.array()?.checked_sub(2).ok_or(DecodeError::Missing { key: E::KEY })?;
        let table = r.uint()?;
        let mut entries = r;
        let count = entries.array()?;
        r.skip()?;
        (0..extra).try_for_each(|_| r.skip())?;
        r.finish()?;
        Ok(Self { table, count, entries, of: PhantomData })
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
    pub fn iter(&self) -> impl Iterator<Item = Result<E, DecodeError>> + use<'a, E> {
        let mut r = self.entries;
        (0..self.count).map(move |_| E::decode(&mut r))
    }
}

pub(crate) fn opt_uint(w: &mut Writer<'_>, value: Option<u64>) -> Result<(), Full> {
    match value {
        Some(value) => w.uint(value),
        None => w.nil(),
    }
}

pub(crate) fn opt_f32(w: &mut Writer<'_>, value: Option<f32>) -> Result<(), Full> {
    match value {
        Some(value) => w.f32(value),
        None => w.nil(),
    }
}

pub(crate) fn narrow<T: TryFrom<u64>>(value: u64) -> Result<T, DecodeError> {
    T::try_from(value).map_err(|_| DecodeError::OutOfRange { expected: Expected::Small })
}

pub(crate) fn read_opt_uint<T: TryFrom<u64>>(r: &mut Reader<'_>) -> Result<Option<T>, DecodeError> {
    if r.nil() { Ok(None) } else { narrow(r.uint()?).map(Some) }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds are f32 on the wire")]
pub(crate) fn read_opt_f32(r: &mut Reader<'_>) -> Result<Option<f32>, DecodeError> {
    if r.nil() { Ok(None) } else { r.number().map(|value| Some(value as f32)) }
}
