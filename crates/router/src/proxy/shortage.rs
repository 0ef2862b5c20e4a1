//! Why there is no worker for a request.

use crate::proxy::route::Route;
use crate::proxy::shape::Shape;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use sglang_router_rs::core::{Worker, WorkerRole};
use sglang_router_rs::types::WorkerSet;

/// Why a request got no worker, or none would get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Shortage {
    /// There are no workers.
    #[error("the router has no workers")]
    NoneConfigured,
    /// There are some, and none has what the request needs.
    #[error("no worker has the role and the model that are needed")]
    NoneQualifies,
    /// All that have are draining.
    #[error("every worker that qualifies is draining")]
    AllDraining,
    /// Of those that are not draining, some are well and all of these full.
    #[error("every worker that qualifies and is well is full")]
    AllFull,
    /// Of those that are not draining, none is healthy.
    #[error("no worker that qualifies is healthy: health checks fail or circuits are open")]
    NoneHealthy,
    /// Some are healthy, and the policy chose none of them.
    #[error("workers that qualify are healthy, and the routing policy chose none of them")]
    PolicyChoseNone,
    /// The policy goes on choosing a worker that was tried.
    #[error("the routing policy insists on a worker that was tried")]
    PolicyInsists,
    /// No model can be listed yet.
    #[error("no worker has said yet which models it serves")]
    ModelsUnknown,
    /// Of those that are not draining, none is known to be healthy, and some were not checked yet.
    #[error("no worker that qualifies is healthy: its first health check is not over yet")]
    NoneChecked,
    /// Whoever carries the request allows some workers only, and none of these has what it needs.
    #[error(
        "none of the workers that the gateway's subset allows has the role and the model that are needed"
    )]
    NoneInSubset,
}

impl Shortage {
    /// All of them, at the places of their numbers.
    pub const ALL: [Self; 10] = [
        Self::NoneConfigured,
        Self::NoneQualifies,
        Self::AllDraining,
        Self::AllFull,
        Self::NoneHealthy,
        Self::PolicyChoseNone,
        Self::PolicyInsists,
        Self::ModelsUnknown,
        Self::NoneChecked,
        Self::NoneInSubset,
    ];

    /// Why a request of this shape that only `eligible` workers may serve, all if `None`, was placed at
    /// none of them. If one of them could have served it alone, a pair was no better: what would have been
    /// needed least counts.
    ///
    /// Works it out anew, from what is true now: this is off the path of requests that are placed.
    pub fn of(snapshot: &Snapshot, shape: Shape, eligible: Option<&WorkerSet>) -> Self {
        if snapshot.targets().is_empty() {
            return Self::NoneConfigured;
        }
        let short_of = |role| {
            let targets = snapshot.targets().iter().enumerate();
            let fit = targets.filter(|(index, target)| {
                target.worker().role() == role && eligible.is_none_or(|set| set.contains(*index))
            });
            Self::among(fit.map(|(_, target)| &**target))
        };
        let alone = short_of(WorkerRole::Regular);
        let short = match shape {
            Shape::Single => alone,
            Shape::Pair => {
                let halves = short_of(WorkerRole::Prefill).or_else(|| short_of(WorkerRole::Decode));
                halves.map(|halves| alone.map_or(halves, |alone| alone.or_better(halves)))
            }
        };
        short.unwrap_or(Self::PolicyChoseNone)
    }

    /// Why no request of this route would get a worker now, whatever its model.
    pub fn of_fleet(snapshot: &Snapshot, route: Route) -> Self {
        let shape = snapshot.shape(route, None).unwrap_or(Shape::Single);
        let eligible = snapshot.pairing(None, None, None).filter(|_| shape == Shape::Pair);
        Self::of(snapshot, shape, eligible)
    }

    /// The one of two reasons that is told for workers of which either would do.
    fn or_better(self, other: Self) -> Self {
        let order = [Self::AllFull, Self::NoneChecked, Self::NoneHealthy, Self::AllDraining];
        order.into_iter().find(|reason| [self, other].contains(reason)).unwrap_or(other)
    }

    /// Why none of these can be chosen; `None` if one can.
    fn among<'a>(targets: impl Iterator<Item = &'a Target>) -> Option<Self> {
        let mut why = Self::NoneQualifies;
        for target in targets {
            if target.worker().is_healthy() {
                return None;
            }
            why = why.or_better(Self::of_one(target));
        }
        Some(why)
    }

    /// Why this one, which is not healthy, cannot be chosen.
    fn of_one(target: &Target) -> Self {
        if target.is_fit() {
            Self::AllFull
        } else if target.worker().is_draining() {
            Self::AllDraining
        } else if target.endpoint().is_judged() {
            Self::NoneHealthy
        } else {
            Self::NoneChecked
        }
    }

    /// True if it may be over soon, so that waiting may help: a worker comes, or gets well.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::NoneConfigured | Self::AllDraining | Self::NoneHealthy | Self::NoneChecked)
    }

    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoneConfigured => "none_configured",
            Self::NoneQualifies => "none_qualifies",
            Self::AllDraining => "all_draining",
            Self::AllFull => "all_full",
            Self::NoneHealthy => "none_healthy",
            Self::PolicyChoseNone => "policy_chose_none",
            Self::PolicyInsists => "policy_insists",
            Self::ModelsUnknown => "models_unknown",
            Self::NoneChecked => "none_checked",
            Self::NoneInSubset => "none_in_subset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_numbers() {
        for (position, shortage) in Shortage::ALL.into_iter().enumerate() {
            assert_eq!(shortage as usize, position);
        }
    }
}
