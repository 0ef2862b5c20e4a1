//! By how many workers a request is served.

/// One worker serves a request, or two do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A regular worker, from end to end.
    Single,
    /// A prefill and a decode worker.
    Pair,
}

impl Shape {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Single => Self::Pair,
            Self::Pair => Self::Single,
        }
    }
}
