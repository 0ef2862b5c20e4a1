//! The fleet at one moment, with all that requests need worked out beforehand.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::FleetWorker;
use crate::core::Worker;
use crate::core::WorkerRole;
use crate::core::WorkerTable;
use crate::proxy::route::Route;
use crate::proxy::target::Target;
use crate::types::WorkerSet;

/// A worker table, the targets at the same indexes, and who serves which model. Never changes:
/// the masks are worked out once for each version of the table.
#[derive(Debug)]
pub struct Snapshot {
    table: Arc<WorkerTable>,
    targets: Box<[Arc<Target>]>,
    models: HashMap<String, Group>,
    /// Workers whose model is not known: they may serve any.
    unknown_model: Group,
    /// All workers.
    all: Group,
    has_pairs: bool,
}

/// Some workers, by role.
#[derive(Debug, Default)]
struct Group {
    any_role: WorkerSet,
    regular: WorkerSet,
}

impl Group {
    fn of<'a>(workers: &'a [Arc<FleetWorker>], serves: impl Fn(&FleetWorker) -> bool + 'a) -> Self {
        let members = || workers.iter().enumerate().filter(|(_, worker)| serves(worker));
        let is_regular = |(_, worker): &(usize, &Arc<FleetWorker>)| worker.role() == WorkerRole::Regular;
        Self {
            any_role: members().map(|(index, _)| index).collect(),
            regular: members().filter(is_regular).map(|(index, _)| index).collect(),
        }
    }
}

/// No worker serves this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownModel;

impl Snapshot {
    /// `targets` in the order of the table.
    pub fn new(table: Arc<WorkerTable>, targets: Vec<Arc<Target>>) -> Self {
        let workers = table.workers();
        let mut models: HashMap<String, Group> = HashMap::new();
        for model in workers.iter().filter_map(|worker| worker.model_id()) {
            if !models.contains_key(model) {
                let serves = |worker: &FleetWorker| worker.model_id().is_none_or(|own| own == model);
                models.insert(model.to_owned(), Group::of(workers, serves));
            }
        }
        let has = |role| workers.iter().any(|worker| worker.role() == role);
        Self {
            models,
            unknown_model: Group::of(workers, |worker| worker.model_id().is_none()),
            all: Group::of(workers, |_| true),
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

    /// How often a worker was found dead, over all workers. Another number means that one was, or
    /// that the fleet has changed.
    pub fn deaths(&self) -> u64 {
        self.targets.iter().fold(0, |sum, target| sum.wrapping_add(target.deaths()))
    }

    /// The target of the worker at `index`.
    pub fn target(&self, index: usize) -> Option<&Arc<Target>> {
        self.targets.get(index)
    }

    /// True if it matters which model a request names.
    pub fn routes_by_model(&self) -> bool {
        self.models.len() > 1
    }

    /// True if requests of this route go to a prefill and a decode worker.
    pub fn pairs(&self, route: Route) -> bool {
        self.has_pairs && route.generates()
    }

    /// The only workers that may serve the request; `None` = all.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`] if the fleet has several models, all of them known, and not this one.
    pub fn eligible(&self, route: Route, model: Option<&str>) -> Result<Option<&WorkerSet>, UnknownModel> {
        let group = match model.filter(|_| self.routes_by_model()) {
            None => &self.all,
            Some(model) => match self.models.get(model) {
                Some(group) => group,
                None if self.unknown_model.any_role.is_empty() => return Err(UnknownModel),
                None => &self.unknown_model,
            },
        };
        let set = if self.pairs(route) { &group.any_role } else { &group.regular };
        Ok((set.len() < self.table.workers().len()).then_some(set))
    }
}
