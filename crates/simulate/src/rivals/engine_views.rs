//! What other routers' policies see of engines.

use parking_lot::Mutex;

use crate::engine::{ModelWorker, WorkerLook};
use crate::rivals::rival::{EngineSight, SeenWorker};
use crate::workload::Workload;

/// What a policy saw last.
#[derive(Debug, Default)]
struct LastViews {
    /// The number of the engine at each place of the table; empty if they are the same.
    numbers: Vec<u32>,
    /// Tokens of the next prompt that each engine holds.
    held: Vec<u32>,
    looks: Vec<WorkerLook>,
    next_look: f64,
}

/// What a policy may see of engines. The run writes it, the policy reads it, both on one thread.
#[derive(Debug)]
pub(crate) struct EngineViews {
    sight: EngineSight,
    last: Mutex<LastViews>,
}

impl EngineViews {
    /// Nothing was seen yet.
    pub(crate) fn new(sight: EngineSight) -> Self {
        Self { sight, last: Mutex::default() }
    }

    /// A policy is about to be asked about a request. `numbers` are those of the engines at the places of the
    /// table; empty if they are the same.
    pub(crate) fn update(
        &self,
        now: f64,
        request: u32,
        engines: &[ModelWorker],
        workload: &Workload,
        numbers: &[u32],
    ) {
        let mut last = self.last.lock();
        last.numbers.clear();
        last.numbers.extend_from_slice(numbers);
        if self.sight.caches {
            last.held.clear();
            last.held.extend(engines.iter().map(|engine| engine.held(request, workload)));
        }
        if let Some(interval) = self.sight.loads
            && now >= last.next_look
        {
            last.looks.clear();
            last.looks.extend(engines.iter().map(|engine| engine.look(now)));
            last.next_look = now + interval;
        }
    }

    /// Completes what is known of the worker at this place of the table.
    pub(crate) fn complete(&self, place: usize, seen: SeenWorker) -> SeenWorker {
        let last = self.last.lock();
        let number = last.numbers.get(place).and_then(|number| usize::try_from(*number).ok());
        let seen = SeenWorker { worker: number.unwrap_or(place), ..seen };
        let held = last.held.get(seen.worker).copied().unwrap_or_default();
        let look = last.looks.get(seen.worker).copied().unwrap_or_default();
        SeenWorker { held, waiting: look.waiting, kv_usage: look.kv_usage, ..seen }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::EngineModel;

    use super::*;

    #[test]
    fn caches_are_seen_at_once_and_loads_as_often_as_they_are_asked_for() {
        let mut workload = Workload::new(512);
        workload.push(0.0, 1100, 1, &[1, 2, 3]);
        workload.push(0.0, 1600, 1, &[1, 2, 4]);
        let model = EngineModel::default();
        let mut engines = [0, 1].map(|_| ModelWorker::new(&model, 1.0, &workload));
        let views = EngineViews::new(EngineSight { caches: true, loads: Some(5.0) });
        let seen = |worker| views.complete(worker, SeenWorker::default());
        views.update(0.0, 1, &engines, &workload, &[]);
        engines[1].enqueue(0.0, 0, &workload);
        views.update(1.0, 1, &engines, &workload, &[]);
        assert_eq!((seen(1).held, seen(1).kv_usage), (0, 0.0));
        engines[1].end_step(&workload, &mut Vec::new());
        views.update(2.0, 1, &engines, &workload, &[]);
        assert_eq!((seen(0).held, seen(1).held, seen(1).kv_usage), (0, 1024, 0.0));
        engines[1].enqueue(3.0, 1, &workload);
        views.update(5.0, 0, &engines, &workload, &[]);
        assert_eq!((seen(1).held, seen(1).kv_usage), (1024, 4.0 / 2000.0));
        views.update(6.0, 0, &engines, &workload, &[1]);
        assert_eq!((seen(0).worker, seen(0).held), (1, 1024));
    }
}
