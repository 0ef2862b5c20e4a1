//! The fleet at one moment, with all that requests need worked out beforehand.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::proxy::model_index::{Group, ModelIndex, UnknownModel};
use crate::proxy::models::Known;
use crate::proxy::route::Route;
use crate::proxy::shape::Shape;
use crate::proxy::target::Target;
use sglang_router_rs::core::{Worker, WorkerRole, WorkerTable};
use sglang_router_rs::policies::SelectWorkerInfo;
use sglang_router_rs::types::WorkerSet;

/// A worker table, the targets at the same indexes, and who serves which model. Never changes:
/// the masks are worked out once for each version of the table and of what is known of models.
#[derive(Debug)]
pub struct Snapshot {
    table: Arc<WorkerTable>,
    targets: Box<[Arc<Target>]>,
    models: ModelIndex,
    /// Workers that will be asked for their models, and were not yet.
    unasked: WorkerSet,
    has_pairs: bool,
}

impl Snapshot {
    /// `targets` and `known` in the order of the table; `learns` if workers are asked for their
    /// models.
    pub fn new(table: Arc<WorkerTable>, targets: Vec<Arc<Target>>, known: &[&Known], learns: bool) -> Self {
        let workers = table.workers();
        let has = |role| workers.iter().any(|worker| worker.role() == role);
        let is_unasked = |known: &Known| learns && known.listing.is_none();
        let unasked = known.iter().enumerate().filter(|(_, known)| is_unasked(known));
        Self {
            models: ModelIndex::new(workers, known),
            unasked: unasked.map(|(index, _)| index).collect(),
            has_pairs: has(WorkerRole::Prefill) && has(WorkerRole::Decode),
            targets: targets.into(),
            table,
        }
    }

    /// The workers.
    pub fn table(&self) -> &Arc<WorkerTable> {
        &self.table
    }

    /// All targets, in the order of the table.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The target of the worker at `index`.
    pub fn target(&self, index: usize) -> Option<&Arc<Target>> {
        self.targets.get(index)
    }

    /// The workers that go when the one at `index` goes: itself, and of an engine whose ranks are workers of
    /// their own, the others.
    pub(crate) fn with_siblings(&self, index: usize) -> impl Iterator<Item = usize> {
        let ranked = self.targets.get(index).filter(|target| target.rank().is_some());
        let is_sibling = move |(other, target): (usize, &Arc<Target>)| {
            let is_one = ranked.is_some_and(|own| Arc::ptr_eq(own.endpoint(), target.endpoint()));
            (is_one && other != index).then_some(other)
        };
        // Most have none.
        let all: &[Arc<Target>] = if ranked.is_some() { &self.targets } else { &[] };
        std::iter::once(index).chain(all.iter().enumerate().filter_map(is_sibling))
    }

    /// True if it matters which model a request names.
    pub fn routes_by_model(&self) -> bool {
        self.models.routes()
    }

    /// The model that a request is for which names this one, or none, as the fleet knows it.
    pub(crate) fn known_model<'a>(&'a self, named: Option<&str>) -> Option<&'a str> {
        self.models.known(named)
    }

    /// True if requests of this route may go to a pair. Whether one does depends on its model.
    pub fn may_pair(&self, route: Route) -> bool {
        self.has_pairs && route.may_pair()
    }

    /// The only shape that this request can have; `None` if a regular worker may serve it, and a pair too.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`], as [`eligible`](Self::eligible).
    pub fn only_shape(&self, route: Route, model: Option<&str>) -> Result<Option<Shape>, UnknownModel> {
        let group = self.models.group(model)?;
        Ok(if self.may_pair(route) { group.only_shape() } else { Some(Shape::Single) })
    }

    /// The shape that this request gets. Where it may have either, that is a pair, unless only a regular
    /// worker can serve it now.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`], as [`eligible`](Self::eligible).
    pub fn shape(&self, route: Route, model: Option<&str>) -> Result<Shape, UnknownModel> {
        if !self.may_pair(route) {
            return Ok(Shape::Single);
        }
        let group = self.models.group(model)?;
        let sets = self.models.pairings(model);
        Ok(group.only_shape().unwrap_or_else(|| self.preferred(group, sets)))
    }

    /// True if somebody who was not `tried` may be chosen for this request in this shape.
    pub(crate) fn has_left(
        &self,
        shape: Shape,
        route: Route,
        model: Option<&str>,
        tried: Option<&WorkerSet>,
    ) -> bool {
        let Ok(group) = self.models.group(model) else { return false };
        let may = |index: usize, target: &Target| {
            group.any_role.contains(index)
                && tried.is_none_or(|tried| !tried.contains(index))
                && target.worker().is_healthy()
        };
        (shape == Shape::Single || self.may_pair(route)) && self.can(shape, self.models.pairings(model), may)
    }

    /// The workers of which both halves of a pair have to be, where they would not fit otherwise. Of several such sets one that has somebody who was not `tried`, by chance
    /// and as often as it has decode workers; for the same `key` the same one, as long as they are well.
    pub(crate) fn pairing(
        &self,
        model: Option<&str>,
        tried: Option<&WorkerSet>,
        key: Option<&str>,
    ) -> Option<&WorkerSet> {
        let sets = self.models.pairings(model);
        if sets.len() < 2 {
            return sets.first();
        }
        let conditions: [fn(&Target) -> bool; 2] = [|target| target.worker().is_healthy(), Target::is_fit];
        for holds in conditions {
            let count = |role, set: &WorkerSet| {
                let targets = self.targets.iter().enumerate();
                let may = |index| set.contains(index) && tried.is_none_or(|tried| !tried.contains(index));
                let may =
                    |index, target: &Target| may(index) && target.worker().role() == role && holds(target);
                targets.filter(|(index, target)| may(*index, target)).count()
            };
            let weight = |set: &WorkerSet| match count(WorkerRole::Prefill, set) {
                0 => 0,
                _ => count(WorkerRole::Decode, set),
            };
            let weights: Vec<usize> = sets.iter().map(weight).collect();
            if let Some(index) = drawn(&weights, key) {
                return sets.get(index);
            }
        }
        sets.first()
    }

    /// The only workers that may serve the request; `None` = all.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`] if the fleet has several models, all of them known, and not this one.
    pub fn eligible(&self, shape: Shape, model: Option<&str>) -> Result<Option<&WorkerSet>, UnknownModel> {
        let group = self.models.group(model)?;
        let set = match shape {
            Shape::Single => &group.regular,
            Shape::Pair => &group.any_role,
        };
        Ok((set.len() < self.table.workers().len()).then_some(set))
    }

    /// The same for one attempt of a request: both halves of a pair have to fit each other.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`], as [`eligible`](Self::eligible).
    pub(crate) fn eligible_of(
        &self,
        shape: Shape,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Option<&WorkerSet>, UnknownModel> {
        if shape == Shape::Pair
            && let Some(pairing) = self.pairing(info.model, info.excluded, info.request_key)
        {
            return Ok(Some(pairing));
        }
        self.eligible(shape, info.model)
    }

    /// True if requests can be served: by a regular worker, or by a pair. Workers that are full for
    /// a moment count: they serve others, and what they say of themselves is an answer too.
    pub fn is_ready(&self) -> bool {
        self.serves(self.models.pairings(None), |_| true)
    }

    /// The same if these workers were not there.
    pub(crate) fn is_ready_without(&self, leaving: &[Arc<Target>]) -> bool {
        let stays = |index: usize| {
            let target = self.targets.get(index);
            target.is_some_and(|target| !leaving.iter().any(|left| Arc::ptr_eq(left, target)))
        };
        self.serves(self.models.pairings(None), stays)
    }

    /// True if requests of this route can be served, some of them at least.
    pub fn is_ready_for(&self, route: Route) -> bool {
        let sets = self.models.pairings(None);
        let can = |shape| self.can(shape, sets, |_, target| target.is_fit());
        can(Shape::Single) || (route.may_pair() && can(Shape::Pair))
    }

    /// The models that can be served now, in OpenAI's form; `None` if none is known, and some worker
    /// that serves was not asked yet.
    pub fn model_page(&self) -> Option<Bytes> {
        let data = self.model_cards()?;
        serde_json::to_vec(&serde_json::json!({"object": "list", "data": data})).ok().map(Bytes::from)
    }

    /// The entries of that page.
    pub(crate) fn model_cards(&self) -> Option<Vec<Value>> {
        let is_served = |group: &Group| self.serves(group.pairings(), |index| group.any_role.contains(index));
        let data = self.models.list(is_served);
        let mut targets = self.targets.iter().enumerate();
        if data.is_empty() && targets.any(|(index, target)| self.unasked.contains(index) && target.is_fit()) {
            return None;
        }
        Some(data.into_iter().cloned().collect())
    }

    fn serves(&self, sets: &[WorkerSet], admits: impl Fn(usize) -> bool) -> bool {
        let can = |shape| self.can(shape, sets, |index, target| admits(index) && target.is_fit());
        can(Shape::Single) || can(Shape::Pair)
    }

    /// Among workers that could serve a request in either shape. One that is full is asked only where
    /// nobody has room, as where there is one shape.
    fn preferred(&self, group: &Group, sets: &[WorkerSet]) -> Shape {
        let conditions: [fn(&Target) -> bool; 2] = [|target| target.worker().is_healthy(), Target::is_fit];
        for holds in conditions {
            for shape in [Shape::Pair, Shape::Single] {
                if self.can(shape, sets, |index, target| group.any_role.contains(index) && holds(target)) {
                    return shape;
                }
            }
        }
        Shape::Pair
    }

    /// True if workers like these are there that can serve a request in this shape; a pair of them out of
    /// one of these sets, if there are any.
    fn can(&self, shape: Shape, sets: &[WorkerSet], may: impl Fn(usize, &Target) -> bool) -> bool {
        let has = |role, set: Option<&WorkerSet>| {
            let may = |index, target| set.is_none_or(|set| set.contains(index)) && may(index, target);
            let mut targets = self.targets.iter().enumerate();
            targets.any(|(index, target)| target.worker().role() == role && may(index, target))
        };
        let has_both = |set| has(WorkerRole::Prefill, set) && has(WorkerRole::Decode, set);
        match shape {
            Shape::Single => has(WorkerRole::Regular, None),
            Shape::Pair if sets.is_empty() => self.has_pairs && has_both(None),
            Shape::Pair => sets.iter().any(|set| has_both(Some(set))),
        }
    }
}

/// A place, as often as its weight is large; for the same key the same one.
fn drawn(weights: &[usize], key: Option<&str>) -> Option<usize> {
    let total = weights.iter().sum::<usize>() as u64;
    let mut left = match key {
        _ if total == 0 => return None,
        None => fastrand::u64(..total),
        Some(key) => {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish() % total
        }
    };
    weights.iter().position(|weight| {
        let weight = *weight as u64;
        let is_here = left < weight;
        left = left.saturating_sub(weight);
        is_here
    })
}
