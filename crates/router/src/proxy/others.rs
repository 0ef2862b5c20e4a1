//! Who else could serve a request.

use std::sync::Arc;

use crate::proxy::route::Route;
use crate::proxy::shape::Shape;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tried::{Selection, Tried};
use sglang_router_rs::types::WorkerSet;

/// Who could serve a request if a worker that it is at breaks its connection: in the form that it has, or
/// in the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Others<'a> {
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) tried: &'a Tried,
    pub(crate) route: Route,
    pub(crate) model: Option<&'a str>,
    /// Where the request is.
    pub(crate) chosen: Selection,
    /// Whether only the worker where it is has what it asks for.
    pub(crate) has_home: bool,
}

impl Others<'_> {
    /// True if somebody could without the decode half, or without the only worker.
    pub(crate) fn than_decode(&self) -> bool {
        let Self { snapshot, tried, route, model, chosen, has_home } = *self;
        !has_home && tried.has_for_break() && are_left(snapshot, route, model, tried.workers(), chosen.decode)
    }

    /// Tells whether somebody could without the prefill half. It is asked by a task of its own, if at
    /// all, and looks at the fleet only then.
    pub(crate) fn than_prefill(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (snapshot, route) = (Arc::clone(self.snapshot), self.route);
        let (tried, model) = (self.tried.workers().cloned(), self.model.map(str::to_owned));
        let prefill = self.chosen.prefill.filter(|_| self.tried.has_for_break());
        move || {
            prefill
                .is_some_and(|prefill| are_left(&snapshot, route, model.as_deref(), tried.as_ref(), prefill))
        }
    }
}

/// True if the request can be served without those that were tried, and without the worker at `index`.
fn are_left(
    snapshot: &Snapshot,
    route: Route,
    model: Option<&str>,
    tried: Option<&WorkerSet>,
    index: usize,
) -> bool {
    let mut without = tried.cloned().unwrap_or_default();
    snapshot.with_siblings(index).for_each(|index| without.insert(index));
    let is_left = |shape| snapshot.has_left(shape, route, model, Some(&without));
    is_left(Shape::Single) || is_left(Shape::Pair)
}
