//! The column message of a decision, taken apart in the order of the inputs.

use sgl_policy_abi::{Column, DecodeError, Input, Leg, Reader};

use crate::column::{Bits, Hashes, Tokens};
use crate::table::Table;
use crate::take;

#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    pub(crate) healthy: Bits<'a>,
    pub(crate) excluded: Bits<'a>,
    /// By the number of the [`Column`]; empty where it is not declared.
    numbers: [&'a [[u8; 4]]; Column::COUNT],
    /// Empty where it is not declared.
    pub(crate) prefix_match: &'a [[u8; 4]],
}

#[expect(clippy::indexing_slicing, reason = "there is one place for each column")]
impl<'a> Columns<'a> {
    #[inline]
    pub(crate) const fn numbers(&self, column: Column) -> &'a [[u8; 4]] {
        self.numbers[column as usize]
    }

    #[inline]
    const fn set(&mut self, column: Column, numbers: &'a [[u8; 4]]) {
        self.numbers[column as usize] = numbers;
    }
}

#[derive(Debug, Default)]
pub(crate) struct RequestInputs<'a> {
    pub(crate) text: Option<&'a [u8]>,
    pub(crate) tokens: Option<Tokens<'a>>,
    pub(crate) model: Option<&'a [u8]>,
    pub(crate) prompt_bytes: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) prompt_tokens_exact: u64,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: u64,
    pub(crate) route: Option<&'a [u8]>,
    pub(crate) session: Option<&'a [u8]>,
    pub(crate) client_key: Option<&'a [u8]>,
    pub(crate) prefix_hashes: Option<Hashes<'a>>,
    pub(crate) arrival_rate: f32,
    pub(crate) waited_ms: u64,
    pub(crate) may_wait_ms: u64,
    pub(crate) held: u64,
    pub(crate) leg: Leg,
    pub(crate) random: u64,
    pub(crate) now_ns: u64,
}

/// Why a message is not one that the policy can decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum MessageError {
    /// Not MessagePack, or another type than the input has.
    Malformed(DecodeError),
    /// Not one element per declared input.
    ElementCount,
    /// Another table than the guest has.
    TableVersion,
    /// A column that has not one entry per worker.
    ColumnLength,
    /// A leg that this ABI version does not have.
    UnknownLeg,
}

impl MessageError {
    /// For the answer's `error`. Fixed texts: formatting would double a plugin's size.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Malformed(_) => "decision message is malformed",
            Self::ElementCount => "decision message has not one element per declared input",
            Self::TableVersion => "decision message names another version of the worker table",
            Self::ColumnLength => "a column has not one entry per worker",
            Self::UnknownLeg => "unknown leg",
        }
    }
}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// A message that is being read. `export_policy!` writes one [`Message::take`] and one [`Message::read`] per
/// declared input, so that each becomes straight code for its type.
///
/// The first takes what the router writes: the shortest form of each element. It calls nothing for columns
/// and numbers, so that the message stays in registers as far as the policy reads it. The second stands apart
/// and reads everything that is valid; only it says what is wrong.
#[derive(Debug)]
#[doc(hidden)]
pub struct Message<'a> {
    reader: Reader<'a>,
    elements: Reader<'a>,
    workers: Option<usize>,
    pub(crate) columns: Columns<'a>,
    pub(crate) request: RequestInputs<'a>,
}

impl<'a> Message<'a> {
    /// A message of which nothing is read yet.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
            elements: Reader::new(&[]),
            workers: None,
            columns: Columns::default(),
            request: RequestInputs::default(),
        }
    }

    /// Reads the head. Without a table the columns say how many workers there are.
    #[inline(always)]
    pub(crate) fn open(&mut self, inputs: usize, table: Option<&Table>) -> Result<(), MessageError> {
        let reader = &mut self.reader;
        if reader.array()? != inputs + 1 {
            return Err(MessageError::ElementCount);
        }
        let version = reader.uint()?;
        if table.is_some_and(|table| table.version() != version) {
            return Err(MessageError::TableVersion);
        }
        self.elements = *reader;
        self.workers = table.map(Table::len);
        Ok(())
    }

    /// All elements from the first on, for what is read only when it is asked for.
    pub(crate) const fn elements(&self) -> Reader<'a> {
        self.elements
    }

    /// Number of workers, once the message is closed.
    #[inline]
    pub(crate) const fn workers(&self) -> usize {
        match self.workers {
            Some(workers) => workers,
            None => 0,
        }
    }

    /// Takes the head, as [`open`](Self::open) reads it.
    #[inline(always)]
    pub(crate) fn take_head(&mut self, inputs: usize, table: Option<&Table>) -> Option<()> {
        let (elements, rest) = take::array(self.reader.rest())?;
        let (version, rest) = take::uint(rest)?;
        if elements != inputs + 1 || table.is_some_and(|table| table.version() != version) {
            return None;
        }
        self.reader = Reader::new(rest);
        self.elements = self.reader;
        self.workers = table.map(Table::len);
        Some(())
    }

    /// Takes the next element, which is `input`.
    // Always inlined, as `read`.
    #[inline(always)]
    pub fn take(&mut self, input: &Input) -> Option<()> {
        let Self { reader, workers, columns, request, .. } = self;
        let mut rest = reader.rest();
        macro_rules! set {
            ($place:expr, $taken:expr) => {
                ($place, rest) = $taken?
            };
        }
        match input {
            Input::Healthy => set!(columns.healthy, take::bits(rest)),
            Input::Excluded => set!(columns.excluded, take::bits(rest)),
            Input::Column(column) => {
                let (words, left) = take::words(rest, workers)?;
                columns.set(*column, words);
                rest = left;
            }
            Input::PrefixMatch => set!(columns.prefix_match, take::words(rest, workers)),
            Input::PromptBytes => set!(request.prompt_bytes, take::uint(rest)),
            Input::PromptTokens => set!(request.prompt_tokens, take::uint(rest)),
            Input::PromptTokensExact => set!(request.prompt_tokens_exact, take::uint(rest)),
            Input::Stream => set!(request.stream, take::uint(rest)),
            Input::WaitedMs => set!(request.waited_ms, take::uint(rest)),
            Input::MayWaitMs => set!(request.may_wait_ms, take::uint(rest)),
            Input::Held => set!(request.held, take::uint(rest)),
            Input::Random => set!(request.random, take::uint(rest)),
            Input::NowNs => set!(request.now_ns, take::uint(rest)),
            Input::RequestText => set!(request.text, take::by(rest, opt_str_bytes)),
            Input::RequestTokens => set!(request.tokens, take::by(rest, opt_tokens)),
            Input::MaxTokens => set!(request.max_tokens, take::by(rest, opt_uint)),
            Input::Route => set!(request.route, take::by(rest, opt_str_bytes)),
            Input::Session => set!(request.session, take::by(rest, opt_str_bytes)),
            Input::ClientKey => set!(request.client_key, take::by(rest, opt_str_bytes)),
            Input::PrefixHashes => set!(request.prefix_hashes, take::by(rest, opt_hashes)),
            Input::ArrivalRate => set!(request.arrival_rate, take::by(rest, rate)),
            Input::Model => set!(request.model, take::by(rest, opt_str_bytes)),
            Input::Leg => {
                let (leg, left) = take::uint(rest)?;
                request.leg = Leg::from_number(leg)?;
                rest = left;
            }
            // Read again when they are asked for.
            Input::Header(_) | Input::ConfigHeader(_) | Input::Field(_) | Input::Query(_) => {
                (_, rest) = take::by(rest, opt_str_bytes)?;
            }
        }
        *reader = Reader::new(rest);
        Some(())
    }

    /// Reads the next element, which is `input`.
    ///
    /// # Errors
    /// [`MessageError`].
    // Always inlined: `input` is a constant, and only its own arm shall remain.
    #[inline(always)]
    pub fn read(&mut self, input: &Input) -> Result<(), MessageError> {
        let Self { reader: r, workers, columns, request, .. } = self;
        match input {
            Input::Healthy => columns.healthy = Bits::new(r.bin()?),
            Input::Excluded => columns.excluded = Bits::new(r.bin()?),
            Input::Column(column) => columns.set(*column, words(r, workers)?),
            Input::PrefixMatch => columns.prefix_match = words(r, workers)?,
            Input::RequestText => request.text = opt_str_bytes(r)?,
            Input::RequestTokens => request.tokens = opt_tokens(r)?,
            Input::PromptBytes => request.prompt_bytes = r.uint()?,
            Input::PromptTokens => request.prompt_tokens = r.uint()?,
            Input::PromptTokensExact => request.prompt_tokens_exact = r.uint()?,
            Input::MaxTokens => request.max_tokens = opt_uint(r)?,
            Input::Stream => request.stream = r.uint()?,
            Input::Route => request.route = opt_str_bytes(r)?,
            Input::Session => request.session = opt_str_bytes(r)?,
            Input::ClientKey => request.client_key = opt_str_bytes(r)?,
            Input::PrefixHashes => request.prefix_hashes = opt_hashes(r)?,
            Input::ArrivalRate => request.arrival_rate = rate(r)?,
            Input::Model => request.model = opt_str_bytes(r)?,
            Input::WaitedMs => request.waited_ms = r.uint()?,
            Input::MayWaitMs => request.may_wait_ms = r.uint()?,
            Input::Held => request.held = r.uint()?,
            Input::Leg => request.leg = Leg::from_number(r.uint()?).ok_or(MessageError::UnknownLeg)?,
            Input::Random => request.random = r.uint()?,
            Input::NowNs => request.now_ns = r.uint()?,
            // Read again when they are asked for.
            Input::Header(_) | Input::ConfigHeader(_) | Input::Field(_) | Input::Query(_) => {
                let _ = opt_str_bytes(r)?;
            }
        }
        Ok(())
    }

    /// Checks what only the whole message shows: its end, and the bit columns. Without
    /// a table and any wide column these say that there are eight workers a byte.
    #[inline]
    pub(crate) fn close(&mut self) -> Result<(), MessageError> {
        self.reader.finish()?;
        let [healthy, excluded] =
            [self.columns.healthy, self.columns.excluded].map(|bits| bits.bytes().len());
        let workers = *self.workers.get_or_insert(healthy.max(excluded) * 8);
        let fits = |bytes: usize| bytes == 0 || bytes == workers.div_ceil(8);
        if fits(healthy) && fits(excluded) { Ok(()) } else { Err(MessageError::ColumnLength) }
    }
}

/// A wide column: one word per worker. The first one counts the workers if no table did.
#[inline(never)]
fn words<'a>(r: &mut Reader<'a>, workers: &mut Option<usize>) -> Result<&'a [[u8; 4]], MessageError> {
    let (words, rest) = r.bin()?.as_chunks::<4>();
    if rest.is_empty() && *workers.get_or_insert(words.len()) == words.len() {
        Ok(words)
    } else {
        Err(MessageError::ColumnLength)
    }
}

#[inline]
fn opt_str_bytes<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    if r.nil() { Ok(None) } else { r.str_bytes().map(Some) }
}

fn opt_uint(r: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
    if r.nil() { Ok(None) } else { r.uint().map(Some) }
}

fn opt_hashes<'a>(r: &mut Reader<'a>) -> Result<Option<Hashes<'a>>, MessageError> {
    if r.nil() {
        return Ok(None);
    }
    match r.bin()?.as_chunks() {
        (words, []) => Ok(Some(Hashes::new(words))),
        _ => Err(MessageError::ColumnLength),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it was a float of 32 bits")]
fn rate(r: &mut Reader<'_>) -> Result<f32, DecodeError> {
    r.number().map(|rate| rate as f32)
}

fn opt_tokens<'a>(r: &mut Reader<'a>) -> Result<Option<Tokens<'a>>, MessageError> {
    if r.nil() {
        return Ok(None);
    }
    match r.bin()?.as_chunks() {
        (words, []) => Ok(Some(Tokens::new(words))),
        _ => Err(MessageError::ColumnLength),
    }
}
