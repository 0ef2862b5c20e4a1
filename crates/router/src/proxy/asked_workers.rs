//! Who is asked, where not every worker that qualifies is as good as another: for the response that a request
//! names, and in a fleet of pairs for what any of their halves can tell.

use std::sync::Arc;
use std::time::Instant;

use crate::proxy::endpoint::Endpoint;
use crate::proxy::inbound::Inbound;
use crate::proxy::outcome::Outcome;
use crate::proxy::response_homes::ResponseHomes;
use crate::proxy::retry::Ending;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use sglang_router_rs::core::{Worker, WorkerRole};
use sglang_router_rs::types::WorkerSet;

/// Most workers that are asked one after another for a response of which nobody knows who made it.
const MAX_ASKED: u32 = 64;

/// The status by which engines say that they have no such response.
const NOT_FOUND: u16 = 404;

/// Who is asked for the response that a request names.
#[derive(Debug)]
pub(crate) enum AskedWorkers {
    /// The worker that made it.
    At(Arc<Endpoint>),
    /// One worker after another, by the policy's choice, as long as they say that they do not have it: to
    /// guess one would be to lose it.
    Anywhere {
        /// How many said so.
        asked: u32,
    },
    /// Whoever is there, where there are prefill and decode workers only.
    AnyRole,
}

impl AskedWorkers {
    /// Of a request that names one, in its path or as what it goes on from; `None` if it names none.
    pub(crate) fn of(homes: &ResponseHomes, inbound: &Inbound, previous: Option<&str>) -> Option<Self> {
        let id = inbound.route.response_id(inbound.head.uri.path()).or(previous)?;
        let home = homes.find(id, Instant::now());
        Some(home.map_or(Self::Anywhere { asked: 0 }, Self::At))
    }

    /// The only workers that may be asked, ranks of one engine; `None` if all that qualify may, which is so
    /// too when the one that made it is not there any more.
    pub(crate) fn only(&self, snapshot: &Snapshot) -> Option<WorkerSet> {
        let may = |target: &Target| match self {
            Self::At(endpoint) => Arc::ptr_eq(target.endpoint(), endpoint),
            Self::Anywhere { .. } => false,
            Self::AnyRole => true,
        };
        let targets = snapshot.targets().iter().enumerate();
        let own = targets.filter(|(_, target)| may(target));
        let set: WorkerSet = own.map(|(index, _)| index).collect();
        (!set.is_empty()).then_some(set)
    }

    /// In a fleet without regular workers; `None` in all others.
    pub(crate) fn of_any_role(snapshot: &Snapshot) -> Option<Self> {
        let is_regular = |target: &Arc<Target>| target.worker().role() == WorkerRole::Regular;
        (!snapshot.targets().iter().any(is_regular)).then_some(Self::AnyRole)
    }

    /// True if another worker is to be asked after this outcome.
    pub(crate) fn goes_on(&mut self, outcome: &Outcome) -> bool {
        let is_unknown = matches!(outcome.ending(), Ending::Answered { status: NOT_FOUND, .. });
        match self {
            Self::Anywhere { asked } if is_unknown => {
                *asked += 1;
                *asked < MAX_ASKED
            }
            _ => false,
        }
    }
}
