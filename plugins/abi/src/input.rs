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
    /// `prefix_match`, i32 per worker: how many tokens of this prompt it is believed to hold.
    PrefixMatch,
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
    /// `max_tokens`, integer or nil: how many tokens may be generated at most.
    MaxTokens,
    /// `stream`, integer: 1 if the answer is to be a stream, else 0.
    Stream,
    /// `route`, text or nil: the path of the endpoint.
    Route,
    /// `session`, text or nil: the key that the operator's configuration takes for a session.
    Session,
    /// `client_key`, text or nil: the name of the key that the client showed.
    ClientKey,
    /// `prefix_hashes`, u64 per block in a `bin`, or nil: chained hashes of the prompt's blocks.
    PrefixHashes,
    /// `arrival_rate`, f32: requests a second, a moving average over a minute; NaN if unknown.
    ArrivalRate,
    /// `model`, text or nil: the requested model.
    Model,
    /// `header:<name>`, text or nil: one request header. The name is lower-case.
    Header(Cow<'static, str>),
    /// `config_header:<key>`, text or nil: the request header that the plugin's configuration names under
    /// this key.
    ConfigHeader(Cow<'static, str>),
    /// `field:<JSON pointer>`, text or nil: a text, number or truth value of the request's body.
    Field(Cow<'static, str>),
    /// `query:<name>`, text or nil: a parameter of the request's URL.
    Query(Cow<'static, str>),
    /// `waited_ms`, integer: how long the router has held this request.
    WaitedMs,
    /// `may_wait_ms`, integer: how long it may still hold it; 0 = `wait` is no answer now.
    MayWaitMs,
    /// `held`, integer: how many requests it holds.
    Held,
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
        f.write_str("header:<lower-case name>, config_header:<key>, field:<JSON pointer>, query:<name>")
    }
}

impl core::error::Error for UnknownInput {}

impl Input {
    /// What stands before a header's name.
    pub const HEADER_PREFIX: &'static str = "header:";

    /// What stands before the key under which the configuration names a header.
    pub const CONFIG_HEADER_PREFIX: &'static str = "config_header:";

    /// What stands before the pointer to a field.
    pub const FIELD_PREFIX: &'static str = "field:";

    /// What stands before the name of a parameter.
    pub const QUERY_PREFIX: &'static str = "query:";

    /// Longest name behind a prefix, in bytes: far above any that is in use. The host looks each up in
    /// every request.
    pub const MAX_NAME_BYTES: usize = 256;

    /// Most steps of a pointer.
    pub const MAX_POINTER_STEPS: usize = 16;

    /// All inputs but those that have a prefix, in the order of the documentation.
    pub fn named() -> impl Iterator<Item = Self> {
        let requests = [
            Self::RequestText,
            Self::RequestTokens,
            Self::PromptBytes,
            Self::PromptTokens,
            Self::PromptTokensExact,
            Self::MaxTokens,
            Self::Stream,
            Self::Route,
            Self::Session,
            Self::ClientKey,
            Self::PrefixHashes,
            Self::ArrivalRate,
            Self::Model,
            Self::WaitedMs,
            Self::MayWaitMs,
            Self::Held,
            Self::Leg,
            Self::Random,
            Self::NowNs,
        ];
        [Self::Healthy, Self::Excluded]
            .into_iter()
            .chain(Column::ALL.map(Self::Column))
            .chain([Self::PrefixMatch])
            .chain(requests)
    }

    /// The input of that name.
    ///
    /// # Errors
    /// [`UnknownInput`], also for a name behind a prefix that is empty, too long or none: a header with
    /// upper-case letters or bytes that no header has, a pointer that is not one of RFC 6901 or leads to
    /// the whole body.
    pub fn parse(name: &str) -> Result<Self, UnknownInput> {
        if let Some(input) = Self::named().find(|known| known.static_name() == name) {
            return Ok(input);
        }
        let unknown = || UnknownInput { name: String::from(name) };
        let (prefix, rest) = name.split_once(':').ok_or_else(unknown)?;
        let owned = || Cow::Owned(String::from(rest));
        match prefix {
            "header" if Self::is_header_name(rest) => Ok(Self::Header(owned())),
            "config_header" if is_plain_name(rest) => Ok(Self::ConfigHeader(owned())),
            "field" if Self::is_pointer(rest) => Ok(Self::Field(owned())),
            "query" if is_plain_name(rest) => Ok(Self::Query(owned())),
            _ => Err(unknown()),
        }
    }

    /// True if a header of a request may have this name; upper-case letters are not expected.
    #[must_use]
    pub fn is_header_name(name: &str) -> bool {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&b);
        (1..=Self::MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
    }

    /// True for a JSON pointer (RFC 6901) to something inside of a document, of at most
    /// [`MAX_POINTER_STEPS`](Self::MAX_POINTER_STEPS) steps.
    #[must_use]
    pub fn is_pointer(text: &str) -> bool {
        let is_step = |step: &str| step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        let mut steps = text.split('/');
        is_plain_name(text)
            && steps.next() == Some("")
            && (1..=Self::MAX_POINTER_STEPS).contains(&steps.clone().count())
            && steps.all(is_step)
    }

    /// The name in the manifest.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Header(rest) | Self::ConfigHeader(rest) | Self::Field(rest) | Self::Query(rest) => {
                let mut name = String::from(self.static_name());
                name.push_str(rest);
                Cow::Owned(name)
            }
            Self::Healthy
            | Self::Excluded
            | Self::Column(_)
            | Self::PrefixMatch
            | Self::RequestText
            | Self::RequestTokens
            | Self::PromptBytes
            | Self::PromptTokens
            | Self::PromptTokensExact
            | Self::MaxTokens
            | Self::Stream
            | Self::Route
            | Self::Session
            | Self::ClientKey
            | Self::PrefixHashes
            | Self::ArrivalRate
            | Self::Model
            | Self::WaitedMs
            | Self::MayWaitMs
            | Self::Held
            | Self::Leg
            | Self::Random
            | Self::NowNs => Cow::Borrowed(self.static_name()),
        }
    }

    /// The name; of one with a prefix, only that.
    #[must_use]
    pub const fn static_name(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Excluded => "excluded",
            Self::Column(column) => column.name(),
            Self::PrefixMatch => "prefix_match",
            Self::RequestText => "request_text",
            Self::RequestTokens => "request_tokens",
            Self::PromptBytes => "prompt_bytes",
            Self::PromptTokens => "prompt_tokens",
            Self::PromptTokensExact => "prompt_tokens_exact",
            Self::MaxTokens => "max_tokens",
            Self::Stream => "stream",
            Self::Route => "route",
            Self::Session => "session",
            Self::ClientKey => "client_key",
            Self::PrefixHashes => "prefix_hashes",
            Self::ArrivalRate => "arrival_rate",
            Self::Model => "model",
            Self::WaitedMs => "waited_ms",
            Self::MayWaitMs => "may_wait_ms",
            Self::Held => "held",
            Self::Header(_) => Self::HEADER_PREFIX,
            Self::ConfigHeader(_) => Self::CONFIG_HEADER_PREFIX,
            Self::Field(_) => Self::FIELD_PREFIX,
            Self::Query(_) => Self::QUERY_PREFIX,
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
            Self::Column(_) | Self::PrefixMatch => Some(ColumnWidth::Word),
            Self::RequestText
            | Self::RequestTokens
            | Self::PromptBytes
            | Self::PromptTokens
            | Self::PromptTokensExact
            | Self::MaxTokens
            | Self::Stream
            | Self::Route
            | Self::Session
            | Self::ClientKey
            | Self::PrefixHashes
            | Self::ArrivalRate
            | Self::Model
            | Self::Header(_)
            | Self::ConfigHeader(_)
            | Self::Field(_)
            | Self::Query(_)
            | Self::WaitedMs
            | Self::MayWaitMs
            | Self::Held
            | Self::Leg
            | Self::Random
            | Self::NowNs => None,
        }
    }
}

/// A name or key without control characters.
fn is_plain_name(name: &str) -> bool {
    (1..=Input::MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
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
                     prefill_load prefill_tokens uncached_tokens tokens_in_flight pending_cost oldest_pending_ms \
                     ttft_ewma tpot_ewma load_elsewhere prefix_match \
                     request_text request_tokens prompt_bytes prompt_tokens prompt_tokens_exact max_tokens \
                     stream route session client_key prefix_hashes arrival_rate model \
                     waited_ms may_wait_ms held leg random now_ns";
        assert!(Input::named().map(|input| input.static_name()).eq(names.split(' ')), "none is renamed");
        let header = Input::parse("header:x-session-id").unwrap();
        assert_eq!(header, Input::Header("x-session-id".into()));
        assert_eq!(header.name(), "header:x-session-id");
        for name in [
            "config_header:tenant",
            "config_header:a b:c",
            "field:/a/0/b~1c~0",
            "field:/",
            "query:a b",
            "query:ü",
        ] {
            let input = Input::parse(name).unwrap();
            assert_eq!(input.name(), name);
            assert_eq!(input.static_name(), &name[..=name.find(':').unwrap()]);
        }
    }

    #[test]
    fn input_of_unknown_or_malformed_name_is_refused() {
        for name in [
            "",
            "Load",
            "loads",
            "header:",
            "header:X-Id",
            "header:a b",
            "header:é",
            "session:",
            "config_header:",
            "query:",
            "query:a\n",
            "field:",
            "field:a",
            "field:/~",
            "field:/a~2/b",
            "field:/\u{7f}",
        ] {
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
    fn name_behind_a_prefix_is_bounded() {
        for prefix in ["header:", "config_header:", "query:", "field:/"] {
            let longest = Input::MAX_NAME_BYTES - usize::from(prefix.ends_with('/'));
            let input = |length: usize| Input::parse(&(String::from(prefix) + &"x".repeat(length)));
            assert!(input(longest).is_ok(), "{prefix}");
            assert!(input(longest + 1).is_err(), "{prefix}");
        }
        let deep = |steps: usize| Input::parse(&(String::from("field:") + &"/x".repeat(steps)));
        assert!(deep(Input::MAX_POINTER_STEPS).is_ok() && deep(Input::MAX_POINTER_STEPS + 1).is_err());
    }
}
