//! The answer of `select_worker`, in all its forms.

use crate::error::{DecodeError, Expected, Full};
use crate::kind::Kind;
use crate::names::MAX_RESULT_BYTES;
use crate::put_off::{ShedAnswer, WaitAnswer};
use crate::reader::Reader;
use crate::rows::raw_map;
use crate::ticket::Ticket;
use crate::writer::Writer;

/// What a guest decided. Not checked against the workers: that is the host's duty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer<'a> {
    /// The index of a worker. May be negative or too large: guests are not trusted.
    Index(i64),
    /// `[index, tag, cost]`: the index of a worker, and what is given along with it.
    Ticketed {
        /// As in [`Answer::Index`].
        index: i64,
        /// The tag and the cost; each may be nil, and the last left out.
        ticket: Ticket,
    },
    /// Nil, or an empty result: the guest makes no choice.
    NoChoice,
    /// The map form.
    Map(AnswerMap<'a>),
}

/// The map form of an [`Answer`]; unknown keys are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerMap<'a> {
    /// `selected_worker`, an integer or nil.
    pub selected_worker: Option<i64>,
    /// `state`, the plugin's new state as an encoded MessagePack map; none keeps the old one.
    pub state: Option<&'a [u8]>,
    /// `error`, why the guest could not decide.
    pub error: Option<&'a str>,
    /// `scores`, f32 little-endian per worker, for decision records.
    pub scores: Option<&'a [u8]>,
    /// `reason`, a sentence for decision records.
    pub reason: Option<&'a str>,
    /// `tag`, an integer that is not negative, and `cost`, a number, either of them nil or absent.
    pub ticket: Ticket,
    /// `wait`: the host holds the request. Counts if no worker is selected.
    pub wait: Option<WaitAnswer>,
    /// `shed`: the host refuses the request. Counts if no worker is selected, and before `wait`.
    pub shed: Option<ShedAnswer>,
}

impl<'a> Answer<'a> {
    /// Reads an answer. A small index, the usual case, is one byte and one branch.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but an integer, nil, or such an array or map,
    /// [`DecodeError::TooLarge`] above [`MAX_RESULT_BYTES`](crate::MAX_RESULT_BYTES).
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes {
            [index @ 0x00..=0x7f] => Ok(Self::Index(i64::from(*index))),
            [] | [0xc0] => Ok(Self::NoChoice),
            _ => Self::decode_long(bytes),
        }
    }

    fn decode_long(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        check_size(bytes)?;
        let mut r = Reader::new(bytes);
        let answer = match r.kind()? {
            Kind::Int => Self::Index(r.int()?),
            Kind::Nil => {
                r.nil();
                Self::NoChoice
            }
            Kind::Array => Self::decode_ticketed(&mut r)?,
            Kind::Map => Self::Map(AnswerMap::decode(&mut r)?),
            found => {
                return Err(DecodeError::WrongType { expected: Expected::Answer, found });
            }
        };
        r.finish()?;
        Ok(answer)
    }

    fn decode_ticketed(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let len = r.array()?;
        if !(2..=3).contains(&len) {
            return Err(DecodeError::OutOfRange { expected: Expected::Answer });
        }
        let index = r.int()?;
        let ticket = Ticket::NONE.read_tag(r)?;
        let ticket = if len == 3 { ticket.read_cost(r)? } else { ticket };
        Ok(Self::Ticketed { index, ticket })
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        match self {
            Self::Index(index) => w.int(*index),
            Self::Ticketed { index, ticket } => {
                w.array(3)?;
                w.int(*index)?;
                ticket.write_tag(w)?;
                w.f32(ticket.cost())
            }
            Self::NoChoice => w.nil(),
            Self::Map(map) => map.encode(w),
        }
    }

    /// The index, whatever the form.
    #[inline]
    #[must_use]
    pub const fn selected(&self) -> Option<i64> {
        match self {
            Self::Index(index) | Self::Ticketed { index, .. } => Some(*index),
            Self::NoChoice => None,
            Self::Map(map) => map.selected_worker,
        }
    }
}

impl<'a> AnswerMap<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut map = Self::default();
        for _ in 0..r.map()? {
            match r.str()? {
                "selected_worker" => map.selected_worker = opt_index(r)?,
                "state" => map.state = if r.nil() { None } else { Some(raw_map(r)?) },
                "error" => map.error = r.opt_str()?,
                "scores" => map.scores = if r.nil() { None } else { Some(r.bin()?) },
                "reason" => map.reason = r.opt_str()?,
                "tag" => map.ticket = map.ticket.read_tag(r)?,
                "cost" => map.ticket = map.ticket.read_cost(r)?,
                "wait" => map.wait = WaitAnswer::read(r)?,
                "shed" => map.shed = ShedAnswer::read(r)?,
                _ => r.skip()?,
            }
        }
        Ok(map)
    }

    /// Writes the map; of the optional entries only those that are there.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        let tag = self.ticket.tag();
        let cost = Some(self.ticket.cost()).filter(|cost| *cost != 0.0);
        let optional = [
            self.state.is_some(),
            self.error.is_some(),
            self.scores.is_some(),
            self.reason.is_some(),
            tag.is_some(),
            cost.is_some(),
            self.wait.is_some(),
            self.shed.is_some(),
        ];
        w.map(1 + optional.iter().filter(|present| **present).count())?;
        w.str("selected_worker")?;
        encode_opt_index(w, self.selected_worker)?;
        if let Some(state) = self.state {
            w.str("state")?;
            w.raw(state)?;
        }
        if let Some(error) = self.error {
            w.str("error")?;
            w.str(error)?;
        }
        if let Some(scores) = self.scores {
            w.str("scores")?;
            w.bin(scores.len())?.copy_from_slice(scores);
        }
        if let Some(reason) = self.reason {
            w.str("reason")?;
            w.str(reason)?;
        }
        if let Some(tag) = tag {
            w.str("tag")?;
            w.uint(tag)?;
        }
        if let Some(cost) = cost {
            w.str("cost")?;
            w.f32(cost)?;
        }
        if let Some(wait) = &self.wait {
            w.str("wait")?;
            wait.write(w)?;
        }
        if let Some(shed) = &self.shed {
            w.str("shed")?;
            shed.write(w)?;
        }
        Ok(())
    }
}

pub(crate) fn check_size(bytes: &[u8]) -> Result<(), DecodeError> {
    match bytes.len() {
        len if len > MAX_RESULT_BYTES => Err(DecodeError::TooLarge),
        _ => Ok(()),
    }
}

pub(crate) fn opt_index(r: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    if r.nil() { Ok(None) } else { r.int().map(Some) }
}

pub(crate) fn encode_opt_index(w: &mut Writer<'_>, index: Option<i64>) -> Result<(), Full> {
    match index {
        Some(index) => w.int(index),
        None => w.nil(),
    }
}
