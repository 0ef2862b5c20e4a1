//! The names under which a worker serves, inside a table message.

use alloc::string::String;
use core::fmt;

use crate::error::{DecodeError, Full};
use crate::reader::Reader;
use crate::writer::Writer;

/// The most names that a worker of the table has; what it lists beyond them is left out.
pub const MAX_MODEL_NAMES: usize = 64;

/// The longest such name in bytes; a longer one is left out.
pub const MAX_MODEL_NAME_BYTES: usize = 256;

/// The names of a worker's models and of their adapters (LoRA); one at least.
#[derive(Clone, Copy)]
pub struct KnownModels<'a>(Names<'a>);

#[derive(Clone, Copy)]
enum Names<'a> {
    /// Of the writer.
    Texts(&'a [String]),
    /// Of a message, checked when the worker was read.
    Encoded { bytes: &'a [u8], count: usize },
}

impl<'a> KnownModels<'a> {
    /// These names; `None` if there are none.
    #[must_use]
    pub const fn new(names: &'a [String]) -> Option<Self> {
        if names.is_empty() { None } else { Some(Self(Names::Texts(names))) }
    }

    /// True if it serves under this name.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    /// All names.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let (texts, bytes, count): (&[String], &[u8], usize) = match self.0 {
            Names::Texts(texts) => (texts, &[], 0),
            Names::Encoded { bytes, count } => (&[], bytes, count),
        };
        let mut r = Reader::new(bytes);
        texts.iter().map(String::as_str).chain((0..count).map_while(move |_| r.str().ok()))
    }

    /// Number of names; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is one at least")]
    pub const fn len(self) -> usize {
        match self.0 {
            Names::Texts(texts) => texts.len(),
            Names::Encoded { count, .. } => count,
        }
    }

    /// The names of a message as a MessagePack array without its header, to be kept; see
    /// [`KnownModels::from_parts`]. `None` for names that were not read.
    #[must_use]
    pub const fn as_parts(self) -> Option<(&'a [u8], usize)> {
        match self.0 {
            Names::Texts(_) => None,
            Names::Encoded { bytes, count } => Some((bytes, count)),
        }
    }

    /// Names that were kept as parts; `None` if the count is 0. Bytes that are no names read as fewer names.
    #[must_use]
    pub const fn from_parts(bytes: &'a [u8], count: usize) -> Option<Self> {
        if count == 0 { None } else { Some(Self(Names::Encoded { bytes, count })) }
    }

    pub(crate) fn encode(self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.array(self.len())?;
        self.iter().try_for_each(|name| w.str(name))
    }

    /// `None` for nil and for an empty list.
    pub(crate) fn decode(r: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        if r.nil() {
            return Ok(None);
        }
        let count = r.array()?;
        let start = r.rest();
        for _ in 0..count {
            r.str()?;
        }
        let len = start.len().saturating_sub(r.rest().len());
        Ok(Self::from_parts(start.get(..len).unwrap_or_default(), count))
    }
}

impl PartialEq for KnownModels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for KnownModels<'_> {}

impl fmt::Debug for KnownModels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
