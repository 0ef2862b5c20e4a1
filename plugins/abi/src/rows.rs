//! The message of `select_worker` in the row form.
//!
//! ```text
//! {workers: [{url, healthy, load}], request_text, config, state}
//! ```

use crate::error::{DecodeError, Expected, Full, Key};
use crate::kind::Kind;
use crate::reader::Reader;
use crate::writer::Writer;

/// One worker of the row form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowWorker<'a> {
    /// Base address.
    pub url: &'a str,
    /// True if it may be chosen: up, and not tried for this request already.
    pub healthy: bool,
    /// Requests in flight from this router.
    pub load: i64,
}

/// MessagePack of an empty map, for a `config` or `state` that has nothing.
const EMPTY_MAP: &[u8] = &[0x80];

/// Writes the message. `config` and `state` are MessagePack maps that are kept
/// encoded between calls; an empty slice stands for an empty map.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn encode_rows<'r, I>(
    w: &mut Writer<'_>,
    workers: I,
    request_text: Option<&str>,
    config: &[u8],
    state: &[u8],
) -> Result<(), Full>
where
    I: ExactSizeIterator<Item = RowWorker<'r>>,
{
    let or_empty = |map: &'static [u8], given: &[u8]| given.is_empty().then_some(map);
    w.map(4)?;
    w.str("workers")?;
    w.array(workers.len())?;
    for worker in workers {
        w.map(3)?;
        w.str("url")?;
        w.str(worker.url)?;
        w.str("healthy")?;
        w.bool(worker.healthy)?;
        w.str("load")?;
        w.int(worker.load)?;
    }
    w.str("request_text")?;
    w.opt_str(request_text)?;
    w.str("config")?;
    w.raw(or_empty(EMPTY_MAP, config).unwrap_or(config))?;
    w.str("state")?;
    w.raw(or_empty(EMPTY_MAP, state).unwrap_or(state))
}

/// A row message, whose workers are read one by one.
#[derive(Clone, Copy, Debug)]
pub struct RowsMessage<'a> {
    /// The prompt, if the router has it.
    pub request_text: Option<&'a str>,
    /// The configuration, a MessagePack map.
    pub config: &'a [u8],
    /// The state that the last answer returned, a MessagePack map.
    pub state: &'a [u8],
    count: usize,
    workers: Reader<'a>,
}

impl<'a> RowsMessage<'a> {
    /// Reads the message and checks that all of it is well formed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut message = Self {
            request_text: None,
            config: EMPTY_MAP,
            state: EMPTY_MAP,
            count: 0,
            workers: Reader::new(&[]),
        };
        let mut has_workers = false;
        let mut r = Reader::new(bytes);
        for _ in 0..r.map()? {
            match r.str()? {
                "workers" => {
                    message.workers = r;
                    message.count = message.workers.array()?;
                    has_workers = true;
                    r.skip()?;
                }
                "request_text" => message.request_text = r.opt_str()?,
                "config" => message.config = raw_map(&mut r)?,
                "state" => message.state = raw_map(&mut r)?,
                _ => r.skip()?,
            }
        }
        r.finish()?;
        if has_workers { Ok(message) } else { Err(DecodeError::Missing { key: Key::Workers }) }
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
    pub fn workers(&self) -> impl Iterator<Item = Result<RowWorker<'a>, DecodeError>> + use<'a> {
        let mut r = self.workers;
        (0..self.count).map(move |_| decode_worker(&mut r))
    }
}

fn decode_worker<'a>(r: &mut Reader<'a>) -> Result<RowWorker<'a>, DecodeError> {
    let mut url = None;
    let mut healthy = None;
    let mut load = 0;
    for _ in 0..r.map()? {
        match r.str()? {
            "url" => url = Some(r.str()?),
            "healthy" => healthy = Some(r.bool()?),
            "load" => load = r.int()?,
            _ => r.skip()?,
        }
    }
    Ok(RowWorker {
        url: url.ok_or(DecodeError::Missing { key: Key::Url })?,
        healthy: healthy.ok_or(DecodeError::Missing { key: Key::Healthy })?,
        load,
    })
}

/// The encoded bytes of a map; nil reads as an empty one.
pub(crate) fn raw_map<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    match r.kind()? {
        Kind::Map => r.raw(),
        Kind::Nil => r.raw().map(|_| EMPTY_MAP),
        found => Err(DecodeError::WrongType { expected: Expected::Map, found }),
    }
}
