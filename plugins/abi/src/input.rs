//! The inputs that a column plugin may declare.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use crate::column::Column;

/// What a column plugin wants to know for each decision, in its own order.
///
/// Names are those of the manifest; [`Input::parse`] and [`Input::name`] are each
/// other's reverse. Every [`Column`] is also there by its own name: [`Input::Load`] is
/// `Input::Column(Column::Load)`.
// Exhaustive on purpose: whoever writes or reads an input shall not build without a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub enum Input {
    /// `healthy`, a bit per worker: may be chosen.
    Healthy,
    /// `excluded`, a bit per worker: already tried for this request.
    Excluded,
    /// A number per worker.
    Column(Column),
    /// `request_text`, text or nil: the prompt, or the joined chat messages.
    RequestText,
    /// `request_tokens`, u32 token ids in a `bin`, or nil.
    RequestTokens,
    /// `prompt_bytes`, integer: size of the prompt text.
    PromptBytes,
    /// `prompt_tokens`, integer: tokens of the prompt, counted or estimated; 0 if nothing is known.
    PromptTokens,
    /// `prompt_tokens_exact`, integer: 1 if `prompt_tokens` was counted, 0 if it is an estimate.
    PromptTokensExact,
    /// `model`, text or nil: the requested model.
    Model,
    /// `header:<name>`, text or nil: one request header. The name is lower-case.
    Header(Cow<'static, str>),
    /// `leg`, integer: 0 single, 1 prefill, 2 decode.
    Leg,
    /// `random`, u64: fresh host randomness.
    Random,
    /// `now_ns`, u64: monotonic clock in nanoseconds.
    NowNs,
}

macro_rules! constants {
    ($($column:ident($name:ident): $number:ident = $unknown:expr, $meaning:literal;)+) => {
        #[expect(non_upper_case_globals, reason = "read like variants, as `inputs` of a plugin lists them")]
        impl Input {
            $(
                #[doc = concat!("`", stringify!($name), "`, ", stringify!($number), " per worker: ", $meaning, ".")]
                pub const $column: Self = Self::Column(Column::$column);
            )+
        }
    };
}

crate::for_each_column!(constants);

/// How wide a per-worker column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnWidth {
    /// One bit per worker, least significant first.
    Bit,
    /// Four little-endian bytes per worker.
    Word,
}

impl ColumnWidth {
    /// Bytes of a column for `workers` workers.
    #[inline]
    #[must_use]
    pub const fn bytes(self, workers: usize) -> usize {
        match self {
            Self::Bit => workers.div_ceil(8),
            Self::Word => workers.saturating_mul(Column::WIDTH),
        }
    }
}

/// A name that is no input of this ABI version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownInput {
    /// The name as it was given.
    pub name: String,
}

impl fmt::Display for UnknownInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown input `{}`, known are ", self.name)?;
        for input in Input::named() {
            write!(f, "{}, ", input.static_name())?;
        }
        f.write_str("header:<lower-case name>")
    }
}

impl core::error::Error for UnknownInput {}

impl Input {
    /// What stands before a header's name.
    pub const HEADER_PREFIX: &'static str = "header:";

    /// All inputs but headers, in the order of the documentation.
    pub fn named() -> impl Iterator<Item = Self> {
        let requests = [
            Self::RequestText,
            Self::RequestTokens,
            Self::PromptBytes,
            Self::PromptTokens,
            Self::PromptTokensExact,
            Self::Model,
            Self::Leg,
            Self::Random,
            Self::NowNs,
        ];
        [Self::Healthy, Self::Excluded].into_iter().chain(Column::ALL.map(Self::Column)).chain(requests)
    }

    /// The input of that name.
    ///
    /// # Errors
    /// [`UnknownInput`], also for a header name that is empty, has upper-case
    /// letters, or has bytes that no header name has.
    pub fn parse(name: &str) -> Result<Self, UnknownInput> {
        if let Some(input) = Self::named().find(|known| known.static_name() == name) {
            return Ok(input);
        }
        match name.strip_prefix(Self::HEADER_PREFIX) {
            Some(header) if is_header_name(header) => Ok(Self::Header(Cow::Owned(String::from(header)))),
            _ => Err(UnknownInput { name: String::from(name) }),
        }
    }

    /// The name in the manifest.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Header(header) => {
                let mut name = String::from(Self::HEADER_PREFIX);
                name.push_str(header);
                Cow::Owned(name)
            }
            Self::Healthy
            | Self::Excluded
            | Self::Column(_)
            | Self::RequestText
            | Self::RequestTokens
            | Self::PromptBytes
            | Self::PromptTokens
            | Self::PromptTokensExact
            | Self::Model
            | Self::Leg
            | Self::Random
            | Self::NowNs => Cow::Borrowed(self.static_name()),
        }
    }

    /// The name, without the header's own part.
    #[must_use]
    pub const fn static_name(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Excluded => "excluded",
            Self::Column(column) => column.name(),
            Self::RequestText => "request_text",
            Self::RequestTokens => "request_tokens",
            Self::PromptBytes => "prompt_bytes",
            Self::PromptTokens => "prompt_tokens",
            Self::PromptTokensExact => "prompt_tokens_exact",
            Self::Model => "model",
            Self::Header(_) => Self::HEADER_PREFIX,
            Self::Leg => "leg",
            Self::Random => "random",
            Self::NowNs => "now_ns",
        }
    }

    /// The width of the column, or none for an input that there is once per request.
    #[inline]
    #[must_use]
    pub const fn column_width(&self) -> Option<ColumnWidth> {
        match self {
            Self::Healthy | Self::Excluded => Some(ColumnWidth::Bit),
            Self::Column(_) => Some(ColumnWidth::Word),
            Self::RequestText
            | Self::RequestTokens
            | Self::PromptBytes
            | Self::PromptTokens
            | Self::PromptTokensExact
            | Self::Model
            | Self::Header(_)
            | Self::Leg
            | Self::Random
            | Self::NowNs => None,
        }
    }
}

/// Longest name of a header input, in bytes: far above any that is in use. The host looks each up in
/// every request.
pub(crate) const MAX_HEADER_NAME_BYTES: usize = 256;

fn is_header_name(name: &str) -> bool {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_HEADER_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

impl TryFrom<String> for Input {
    type Error = UnknownInput;

    fn try_from(name: String) -> Result<Self, UnknownInput> {
        Self::parse(&name)
    }
}

impl From<Input> for String {
    fn from(input: Input) -> Self {
        input.name().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_names_parse_back_to_their_input() {
        for input in Input::named() {
            assert_eq!(Input::parse(&input.name()), Ok(input));
        }
        let names = "healthy excluded load running waiting queued_tokens kv_usage throughput latency_ewma report_age_ms \
                     request_text request_tokens prompt_bytes prompt_tokens prompt_tokens_exact model leg random now_ns";
        assert!(Input::named().map(|input| input.static_name()).eq(names.split(' ')), "none is renamed");
        let header = Input::parse("header:x-session-id").unwrap();
        assert_eq!(header, Input::Header("x-session-id".into()));
        assert_eq!(header.name(), "header:x-session-id");
    }

    #[test]
    fn input_of_unknown_or_malformed_name_is_refused() {
        for name in ["", "Load", "loads", "header:", "header:X-Id", "header:a b", "header:é"] {
            assert_eq!(Input::parse(name), Err(UnknownInput { name: name.into() }));
        }
    }

    #[test]
    fn column_bytes_round_bits_up_to_whole_bytes() {
        let bytes = |input: Input, n| input.column_width().map(|width| width.bytes(n));
        assert_eq!(bytes(Input::Healthy, 0), Some(0));
        assert_eq!(bytes(Input::Excluded, 8), Some(1));
        assert_eq!(bytes(Input::Healthy, 9), Some(2));
        assert_eq!(bytes(Input::KvUsage, 9), Some(36));
        assert_eq!(bytes(Input::Random, 9), None);
    }

    #[test]
    fn header_name_is_bounded() {
        let input = |length: usize| Input::parse(&(String::from("header:") + &"x".repeat(length)));
        assert!(input(MAX_HEADER_NAME_BYTES).is_ok());
        assert!(input(MAX_HEADER_NAME_BYTES + 1).is_err());
    }
}
