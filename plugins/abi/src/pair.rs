//! The answer of `select_worker_pair`.

use crate::answer::{check_size, encode_opt_index, opt_index};
use crate::error::{DecodeError, Expected, Full};
use crate::kind::Kind;
use crate::put_off::{ShedAnswer, WaitAnswer};
use crate::reader::Reader;
use crate::ticket::Ticket;
use crate::writer::Writer;

/// A joint decision. Not checked against the workers: that is the host's duty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairAnswer<'a> {
    /// `[prefill, decode]`, two indices.
    Pair {
        /// Index of the prefill worker.
        prefill: i64,
        /// Index of the decode worker.
        decode: i64,
    },
    /// Nil, or an empty result: the guest makes no choice.
    NoChoice,
    /// The map form.
    Map(PairMap<'a>),
}

/// The map form of a [`PairAnswer`]; unknown keys are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairMap<'a> {
    /// `prefill`, an index or nil.
    pub prefill: Option<i64>,
    /// `decode`, an index or nil.
    pub decode: Option<i64>,
    /// `error`, why the guest could not decide.
    pub error: Option<&'a str>,
    /// `reason`, a sentence for decision records.
    pub reason: Option<&'a str>,
    /// `tag` of the pair, and `cost` for the prefill worker, either of them nil or absent.
    pub ticket: Ticket,
    /// `decode_cost`, for the decode worker; 0.0 for nil or absent.
    pub decode_cost: f32,
    /// `wait`: the host holds the request. Counts unless both workers are selected.
    pub wait: Option<WaitAnswer>,
    /// `shed`: the host refuses the request. Counts unless both workers are selected, and before `wait`.
    pub shed: Option<ShedAnswer>,
}

impl<'a> PairAnswer<'a> {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but two indices, nil or such a map,
    /// [`DecodeError::TooLarge`] above [`MAX_RESULT_BYTES`](crate::MAX_RESULT_BYTES).
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        check_size(bytes)?;
        if bytes.is_empty() {
            return Ok(Self::NoChoice);
        }
        let mut r = Reader::new(bytes);
        let answer = match r.kind()? {
            Kind::Array => decode_pair(&mut r)?,
            Kind::Nil => {
                r.nil();
                Self::NoChoice
            }
            Kind::Map => Self::Map(PairMap::decode(&mut r)?),
            found => {
                return Err(DecodeError::WrongType { expected: Expected::Pair, found });
            }
        };
        r.finish()?;
        Ok(answer)
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline]
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        match self {
            Self::Pair { prefill, decode } => {
                w.array(2)?;
                w.int(*prefill)?;
                w.int(*decode)
            }
            Self::NoChoice => w.nil(),
            Self::Map(map) => map.encode(w),
        }
    }

    /// Prefill and decode, whatever the form; none unless both are there.
    #[inline]
    #[must_use]
    pub const fn selected(&self) -> Option<(i64, i64)> {
        match self {
            Self::Pair { prefill, decode }
            | Self::Map(PairMap { prefill: Some(prefill), decode: Some(decode), .. }) => {
                Some((*prefill, *decode))
            }
            _ => None,
        }
    }
}

impl PairAnswer<'_> {
    /// What is given along with the choice of each worker: one tag, and a cost for each.
    #[must_use]
    pub const fn tickets(&self) -> (Ticket, Ticket) {
        match self {
            Self::Map(map) => (map.ticket, map.ticket.with_cost(map.decode_cost)),
            _ => (Ticket::NONE, Ticket::NONE),
        }
    }
}

fn decode_pair<'a>(r: &mut Reader<'a>) -> Result<PairAnswer<'a>, DecodeError> {
    match r.array()? {
        2 => Ok(PairAnswer::Pair { prefill: r.int()?, decode: r.int()? }),
        _ => Err(DecodeError::OutOfRange { expected: Expected::Pair }),
    }
}

impl<'a> PairMap<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut map = Self::default();
        for _ in 0..r.map()? {
            match r.str()? {
                "prefill" => map.prefill = opt_index(r)?,
                "decode" => map.decode = opt_index(r)?,
                "error" => map.error = r.opt_str()?,
                "reason" => map.reason = r.opt_str()?,
                "tag" => map.ticket = map.ticket.read_tag(r)?,
                "cost" => map.ticket = map.ticket.read_cost(r)?,
                "decode_cost" => map.decode_cost = Ticket::NONE.read_cost(r)?.cost(),
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
        let texts = [("error", self.error), ("reason", self.reason)];
        let texts = || texts.iter().filter_map(|(key, text)| Some((*key, (*text)?)));
        let costs = [("cost", self.ticket.cost()), ("decode_cost", self.decode_cost)];
        let costs = || costs.iter().filter(|(_, cost)| *cost != 0.0);
        let tag = self.ticket.tag();
        let others = [tag.is_some(), self.wait.is_some(), self.shed.is_some()];
        let others = others.into_iter().filter(|is_there| *is_there).count();
        w.map(2 + texts().count() + costs().count() + others)?;
        w.str("prefill")?;
        encode_opt_index(w, self.prefill)?;
        w.str("decode")?;
        encode_opt_index(w, self.decode)?;
        for (key, text) in texts() {
            w.str(key)?;
            w.str(text)?;
        }
        if let Some(tag) = tag {
            w.str("tag")?;
            w.uint(tag)?;
        }
        for (key, cost) in costs() {
            w.str(key)?;
            w.f32(*cost)?;
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
