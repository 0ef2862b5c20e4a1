//! Which workers serve which model.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::proxy::base_models::{BaseModels, Common};
use crate::proxy::models::{Card, Known};
use crate::proxy::shape::Shape;
use sglang_router_rs::core::{FleetWorker, Worker, WorkerRole};
use sglang_router_rs::types::WorkerSet;

/// No worker serves this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownModel;

/// Some workers, by role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// All of them.
    pub any_role: WorkerSet,
    /// Those that serve whole requests.
    pub regular: WorkerSet,
    has_prefill: bool,
    has_decode: bool,
    /// Where not every prefill worker fits every decode worker: the largest sets in which each does, or an
    /// empty one.
    pairings: Vec<WorkerSet>,
}

/// Workers that fit each other, by what they have in common. In an order, so that a key of requests finds
/// the same ones each time.
type Fitting<'a> = BTreeMap<Common<'a>, Group>;

impl Group {
    /// Adds a worker.
    fn add(&mut self, index: usize, worker: &FleetWorker) {
        self.any_role.insert(index);
        match worker.role() {
            WorkerRole::Prefill => self.has_prefill = true,
            WorkerRole::Decode => self.has_decode = true,
            WorkerRole::Regular => self.regular.insert(index),
        }
    }

    /// The only shape that a request for these workers can have; `None` if it can have either.
    pub(crate) fn only_shape(&self) -> Option<Shape> {
        if !(self.has_prefill && self.has_decode) {
            return Some(Shape::Single);
        }
        self.regular.is_empty().then_some(Shape::Pair)
    }

    /// The sets of workers of one of which a pair has to come; none if all fit each other.
    pub(crate) fn pairings(&self) -> &[WorkerSet] {
        &self.pairings
    }

    /// Says which of them fit each other, but for those of which nothing is known: these fit all.
    fn restrict(&mut self, fitting: Fitting<'_>, unknown: &Group, workers: &[Arc<FleetWorker>]) {
        if !(self.has_prefill && self.has_decode) {
            return;
        }
        let mut groups: Vec<Self> = fitting.into_values().collect();
        groups.iter_mut().for_each(|group| group.add_all(unknown, workers));
        self.pairings = pairings(groups.iter().chain([unknown]));
        if self.pairings.is_empty() {
            (self.has_prefill, self.has_decode) = (false, false);
            self.pairings.push(WorkerSet::default());
        }
        self.pairings.retain(|set| !is_among(&self.any_role, set));
    }

    fn add_all(&mut self, others: &Group, workers: &[Arc<FleetWorker>]) {
        let members = workers.iter().enumerate().filter(|(index, _)| others.any_role.contains(*index));
        members.for_each(|(index, worker)| self.add(index, worker));
    }
}

/// A model and who serves it, workers that may serve any model included.
#[derive(Debug)]
struct Served {
    group: Group,
    /// Workers that are known to serve it as a model of its own, not as an adapter.
    bases: usize,
    shown: Value,
}

/// The models of a fleet, worked out from what is known of its workers.
#[derive(Debug)]
pub(crate) struct ModelIndex {
    models: HashMap<String, Served>,
    /// Workers whose models are not known: they may serve any.
    unknown: Group,
    all: Group,
    /// Whether a name that nobody lists may go to any worker.
    takes_any_name: bool,
    routes: bool,
}

impl ModelIndex {
    /// `known` in the order of the workers.
    pub(crate) fn new(workers: &[Arc<FleetWorker>], known: &[&Known]) -> Self {
        let (mut all, mut unknown) = (Group::default(), Group::default());
        let mut models: HashMap<String, Served> = HashMap::new();
        let mut speaking = 0;
        let cards: Vec<Vec<Card>> = known.iter().map(|known| known.cards()).collect();
        for (index, (worker, cards)) in workers.iter().zip(&cards).enumerate() {
            all.add(index, worker);
            if cards.is_empty() {
                unknown.add(index, worker);
                continue;
            }
            speaking += 1;
            for card in cards {
                add(&mut models, card, index, worker);
            }
        }
        models.values_mut().for_each(|served| served.group.add_all(&unknown, workers));
        restrict(&mut models, &mut all, &unknown, workers, &cards);
        // Engines such as SGLang and llama.cpp take any name. So a fleet of one model serves any.
        let takes_any_name = models.is_empty() || models.values().any(|served| served.bases == speaking);
        let is_told_apart =
            |group: &Group| group.any_role.len() < workers.len() || !group.pairings.is_empty();
        let routes = models.values().any(|served| is_told_apart(&served.group));
        Self { models, unknown, all, takes_any_name, routes }
    }

    /// The sets of workers of one of which a pair for this request has to come; none if all of its
    /// [`group`](Self::group) fit each other.
    pub(crate) fn pairings(&self, model: Option<&str>) -> &[WorkerSet] {
        self.group(model).map_or(&[], Group::pairings)
    }

    /// The model that a request is for which names this one, or none: this one if somebody lists it, or the
    /// only one that there is.
    pub(crate) fn known<'a>(&'a self, named: Option<&str>) -> Option<&'a str> {
        let sole = || self.models.keys().next().filter(|_| self.models.len() == 1 && !self.routes);
        let model = match named.and_then(|named| self.models.get_key_value(named)) {
            Some((model, _)) => Some(model),
            None => sole(),
        };
        model.map(String::as_str)
    }

    /// True if it matters which model a request names.
    pub(crate) fn routes(&self) -> bool {
        self.routes
    }

    /// The workers that may serve a request which names this model, or none.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`] if the fleet has several models, all of them known, and not this one.
    pub(crate) fn group(&self, model: Option<&str>) -> Result<&Group, UnknownModel> {
        let Some(model) = model.filter(|_| self.routes) else { return Ok(&self.all) };
        match self.models.get(model) {
            Some(served) => Ok(&served.group),
            None if self.takes_any_name => Ok(&self.all),
            None if self.unknown.any_role.is_empty() => Err(UnknownModel),
            None => Ok(&self.unknown),
        }
    }

    /// The entries of the models that somebody of this description serves, by name.
    pub(crate) fn list(&self, is_served: impl Fn(&Group) -> bool) -> Vec<&Value> {
        let served = self.models.iter().filter(|(_, served)| is_served(&served.group));
        let mut listed: Vec<(&String, &Value)> = served.map(|(id, served)| (id, &served.shown)).collect();
        listed.sort_by_key(|(id, _)| *id);
        listed.into_iter().map(|(_, shown)| shown).collect()
    }
}

/// Says of those who serve a model, and of all, which fit each other.
fn restrict(
    models: &mut HashMap<String, Served>,
    all: &mut Group,
    unknown: &Group,
    workers: &[Arc<FleetWorker>],
    cards: &[Vec<Card>],
) {
    let is_half = |index: usize| workers.get(index).is_some_and(|one| one.role() != WorkerRole::Regular);
    let bases = BaseModels::new(cards, is_half);
    if !bases.differ() {
        return;
    }
    let mut of_all = Fitting::new();
    let mut of_models: HashMap<&str, Fitting<'_>> = HashMap::new();
    for (index, (worker, cards)) in workers.iter().zip(cards).enumerate() {
        for common in bases.commons(index) {
            of_all.entry(common).or_default().add(index, worker);
        }
        for card in cards {
            let fitting = of_models.entry(card.id()).or_default();
            for common in bases.commons_for(index, card) {
                fitting.entry(common).or_default().add(index, worker);
            }
        }
    }
    all.restrict(of_all, unknown, workers);
    for (id, served) in models {
        served.group.restrict(of_models.remove(id.as_str()).unwrap_or_default(), unknown, workers);
    }
}

/// The largest of these groups that have both halves of a pair.
fn pairings<'a>(groups: impl Iterator<Item = &'a Group>) -> Vec<WorkerSet> {
    let mut sets: Vec<&WorkerSet> = Vec::new();
    let mut pairs: Vec<_> = groups.filter(|group| group.has_prefill && group.has_decode).collect();
    pairs.sort_by_key(|group| std::cmp::Reverse(group.any_role.len()));
    for Group { any_role: set, .. } in pairs {
        if !sets.iter().any(|larger| is_among(set, larger)) {
            sets.push(set);
        }
    }
    sets.into_iter().cloned().collect()
}

fn is_among(set: &WorkerSet, larger: &WorkerSet) -> bool {
    let bytes = set.as_bytes().iter().enumerate();
    bytes.into_iter().all(|(at, byte)| byte & !larger.as_bytes().get(at).copied().unwrap_or_default() == 0)
}

fn add(models: &mut HashMap<String, Served>, card: &Card, index: usize, worker: &FleetWorker) {
    let fresh = || Served { group: Group::default(), bases: 0, shown: card.shown().clone() };
    // Most workers list what others do: no name is copied then.
    let served = match models.get_mut(card.id()) {
        Some(served) => served,
        None => models.entry(card.id().to_owned()).or_insert_with(fresh),
    };
    if !served.group.any_role.contains(index) {
        served.bases += usize::from(!card.is_adapter());
    }
    served.group.add(index, worker);
}
