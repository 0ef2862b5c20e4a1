//! Which outcomes of a request are a reason to ask another worker.

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RetryCondition {
    /// No connection to the worker, so that it saw nothing of the request.
    Connect = 1,
    /// The connection broke before an answer. Once.
    Broken = 1 << 1,
    /// No byte of an answer in time, or from a worker that was found dead. Once.
    Silent = 1 << 2,
    /// Status 429.
    TooManyRequests = 1 << 3,
    /// Status 500, whatever it says. Once.
    InternalError = 1 << 4,
    /// Status 500 with the words of an engine that is dying or stopping. Once.
    EngineDead = 1 << 5,
    /// Status 502. Once.
    BadGateway = 1 << 6,
    /// Status 503.
    Unavailable = 1 << 7,
    /// Status 504. Once.
    GatewayTimeout = 1 << 8,
}

impl RetryCondition {
    /// All of them, with their names in the configuration.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Connect, "connect"),
        (Self::Broken, "broken"),
        (Self::Silent, "silent"),
        (Self::TooManyRequests, "429"),
        (Self::InternalError, "500"),
        (Self::EngineDead, "500-engine-dead"),
        (Self::BadGateway, "502"),
        (Self::Unavailable, "503"),
        (Self::GatewayTimeout, "504"),
    ];

    /// Those that are on by default: all but 500 and 504, which say that a worker tried.
    pub const DEFAULT: [&'static str; 7] =
        ["connect", "broken", "silent", "429", "500-engine-dead", "502", "503"];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(condition, _)| condition)
    }
}

/// Some reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn(u16);

impl RetryOn {
    /// True if this is one of them.
    pub fn has(self, condition: RetryCondition) -> bool {
        self.0 & condition as u16 != 0
    }
}

impl FromIterator<RetryCondition> for RetryOn {
    fn from_iter<I: IntoIterator<Item = RetryCondition>>(conditions: I) -> Self {
        Self(conditions.into_iter().fold(0, |bits, condition| bits | condition as u16))
    }
}
