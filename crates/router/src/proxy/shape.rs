//! By how many workers a request is served.

/// One worker serves a request, or two do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A regular worker, from end to end.
    Single,
    /// A prefill and a decode worker.
    Pair,
}
