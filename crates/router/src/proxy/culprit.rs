//! Which half of a pair is at fault.

use std::sync::Arc;

use crate::proxy::outcome::Outcome;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::Ending;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use crate::proxy::tried::{Selection, Tried};
use crate::proxy::verdict::Verdict;
use sglang_router_rs::types::WorkerSet;

/// Which half of a pair an outcome comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Culprit {
    /// The prefill half.
    Prefill,
    /// The decode half, or the only worker.
    Decode,
    /// Both were silent.
    Both,
}

impl Culprit {
    /// The outcome as the client is told. An answer of the prefill worker that says that it failed is
    /// no answer to the client's request.
    pub(crate) fn told(self, outcome: Outcome) -> Outcome {
        if self == Self::Prefill { outcome.unless_failed(ProxyError::PrefillFailed) } else { outcome }
    }

    /// The half that the outcome does not come from.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Prefill => Self::Decode,
            Self::Decode => Self::Prefill,
            Self::Both => Self::Both,
        }
    }

    /// It is not to be chosen again after this ending; nor is any other rank of its engine, unless it was full
    /// itself. Of two that may both be at fault, one that nobody could replace
    /// is: without it there would be no second run.
    pub(crate) fn exclude(
        self,
        tried: &mut Tried,
        snapshot: &Snapshot,
        eligible: Option<&WorkerSet>,
        chosen: Selection,
        ending: Ending,
    ) {
        let is_replaceable = |index| tried.could_replace(snapshot, eligible, index);
        let (excludes_prefill, excludes_decode) = match self {
            Self::Prefill => (true, false),
            Self::Decode => (false, true),
            Self::Both => {
                let for_decode = is_replaceable(chosen.decode);
                (!for_decode || chosen.prefill.is_some_and(is_replaceable), for_decode)
            }
        };
        if let Some(prefill) = chosen.prefill.filter(|_| excludes_prefill) {
            exclude(tried, snapshot, prefill, ending);
        }
        if excludes_decode {
            exclude(tried, snapshot, chosen.decode, ending);
        }
    }
}

fn exclude(tried: &mut Tried, snapshot: &Snapshot, index: usize, ending: Ending) {
    let count = if ending.is_of_rank() { 1 } else { usize::MAX };
    snapshot.with_siblings(index).take(count).for_each(|index| tried.exclude(index));
}

/// What both workers of a pair do for others while they are silent to one request. Each half waits for
/// the other, so the request by itself does not tell which of them is stuck.
#[derive(Debug)]
pub(crate) struct Meanwhile {
    /// With how many requests they had served before.
    halves: [(Arc<Target>, u64); 2],
}

impl Meanwhile {
    /// From now on.
    pub(crate) fn begin(prefill: &Arc<Target>, decode: &Arc<Target>) -> Self {
        let with_count = |target: &Arc<Target>| (Arc::clone(target), target.counted(Verdict::Served));
        Self { halves: [with_count(prefill), with_count(decode)] }
    }

    /// The one that served nobody while the other did; both if that tells them not apart: then failures
    /// in a row do, since the worker that is well serves others in between.
    pub(crate) fn culprit(&self) -> Culprit {
        let [prefill, decode] = [&self.halves[0], &self.halves[1]]
            .map(|(target, before)| target.counted(Verdict::Served) > *before);
        match (prefill, decode) {
            (false, true) => Culprit::Prefill,
            (true, false) => Culprit::Decode,
            _ => Culprit::Both,
        }
    }
}
