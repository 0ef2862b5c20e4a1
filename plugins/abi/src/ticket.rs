//! What an answer gives along with its choice: a tag and a cost.

use crate::error::{DecodeError, Expected, Full};
use crate::reader::Reader;
use crate::writer::Writer;

/// The highest cost that an answer may have, 2³⁶.
///
/// The host adds costs up without rounding, which takes a bound: with it the sum of 256 of the highest
/// is still right, and the lowest that counts is 2⁻²⁰.
pub const MAX_COST: f32 = 68_719_476_736.0;

/// What a policy gives along with a choice, so that it need not guess later what an event is about.
///
/// Half the size of two options: every decision carries one, most of them empty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ticket {
    tag: u64,
    cost: f32,
    tagged: bool,
}

impl Ticket {
    /// No tag and no cost.
    pub const NONE: Self = Self { tag: 0, cost: 0.0, tagged: false };

    /// A ticket with this tag and this cost, 0.0 for none. See [`Ticket::is_valid`].
    #[inline]
    #[must_use]
    pub const fn new(tag: Option<u64>, cost: f32) -> Self {
        match tag {
            Some(tag) => Self { tag, cost, tagged: true },
            None => Self { tag: 0, cost, tagged: false },
        }
    }

    /// The plugin's own name for the request.
    #[inline]
    #[must_use]
    pub const fn tag(&self) -> Option<u64> {
        if self.tagged { Some(self.tag) } else { None }
    }

    /// What the request costs the worker until its first token, in any unit of the plugin's own.
    #[inline]
    #[must_use]
    pub const fn cost(&self) -> f32 {
        self.cost
    }

    /// The same with another tag.
    #[inline]
    #[must_use]
    pub const fn with_tag(self, tag: Option<u64>) -> Self {
        Self::new(tag, self.cost)
    }

    /// The same with another cost.
    #[inline]
    #[must_use]
    pub const fn with_cost(self, cost: f32) -> Self {
        Self::new(self.tag(), cost)
    }

    /// True if the host accepts its cost: a number from 0.0 to [`MAX_COST`].
    #[inline]
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (0.0..=MAX_COST).contains(&self.cost)
    }

    /// Reads a tag: an integer that is not negative, or nil.
    pub(crate) fn read_tag(self, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = if r.nil() { None } else { Some(r.uint()?) };
        Ok(self.with_tag(tag))
    }

    /// Reads a cost: a number within its bounds, or nil.
    pub(crate) fn read_cost(self, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.nil() {
            return Ok(self.with_cost(0.0));
        }
        #[expect(clippy::cast_possible_truncation, reason = "what an f32 cannot hold is out of bounds")]
        let read = self.with_cost(r.number()? as f32);
        if read.is_valid() { Ok(read) } else { Err(DecodeError::OutOfRange { expected: Expected::Cost }) }
    }

    pub(crate) fn write_tag(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        match self.tag() {
            Some(tag) => w.uint(tag),
            None => w.nil(),
        }
    }
}
