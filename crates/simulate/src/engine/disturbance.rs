//! What befalls an engine: it becomes slow, stands still, dies; and what its clients do not want any more.

use crate::engine::block_cache::BlockCache;
use crate::engine::decode_batch::DecodeBatch;
use crate::engine::model_worker::{Doing, ModelWorker};
use crate::engine::sequence::EngineSequence;
use crate::engine::step_time::StepTime;
use crate::engine::waiting_line::WaitingLine;
use crate::workload::Workload;

impl ModelWorker {
    /// It has this speed, from the end of the step on that it makes now. `until` may have changed.
    pub fn set_speed(&mut self, now: f64, speed: f64) {
        let times = StepTime::new(&self.model, speed);
        if matches!(self.doing, Doing::Nothing) {
            self.times = times;
        } else {
            self.cut_leap(now);
            self.next_times = Some(times);
        }
    }

    /// It stands still for so many seconds; nothing is lost. `until` may have changed.
    pub fn pause(&mut self, now: f64, seconds: f64) {
        self.paused_until = now + seconds;
        match &mut self.doing {
            Doing::Nothing => return,
            Doing::Prompts { since } | Doing::Decodes { since, .. } => *since += seconds,
        }
        self.until += seconds;
    }

    /// It dies, and what it knew and did is lost: the requests that it had, in their order. It could begin
    /// anew at once, with nothing.
    pub fn crash(&mut self, now: f64) -> Vec<u32> {
        let waiting = self.line.requests().map(|queued| queued.request);
        let running = self.sequences.iter().map(|(_, sequence)| sequence.request);
        let arriving = self.arriving.iter().map(|(_, request)| *request);
        let mut lost: Vec<u32> = waiting.chain(running).chain(arriving).collect();
        lost.sort_unstable();
        if let Doing::Prompts { since } | Doing::Decodes { since, .. } = self.doing {
            self.totals.busy += (now - since).max(0.0);
        }
        let log = self.cache.is_logging();
        self.cache = BlockCache::new(self.model.kv_blocks, self.unit_blocks);
        if log {
            self.cache.start_log();
        }
        self.line = WaitingLine::new(self.model.order);
        self.arriving.clear();
        self.sequences.clear();
        self.prefilling.clear();
        self.batch = DecodeBatch::new(self.model.block_tokens);
        self.chunks.clear();
        self.cancelled.clear();
        self.doing = Doing::Nothing;
        self.until = f64::INFINITY;
        self.paused_until = 0.0;
        self.generated = 0;
        if let Some(times) = self.next_times.take() {
            self.times = times;
        }
        lost
    }

    /// A request is not wanted any more. If it has begun, it goes at the end of the step. `until` may have
    /// changed.
    pub fn cancel(&mut self, now: f64, request: u32) {
        let on_its_way = self.arriving.len();
        self.arriving.retain(|(_, other)| *other != request);
        if self.arriving.len() < on_its_way || self.line.remove_request(request) {
            return;
        }
        if self.sequences.iter().any(|(_, sequence)| sequence.request == request) {
            self.cut_leap(now);
            self.cancelled.push(request);
        }
    }

    /// Steps are not made at once any more beyond the one that it makes now.
    pub(super) fn cut_leap(&mut self, now: f64) {
        if let Doing::Decodes { since, steps } = self.doing {
            let load = self.batch.load();
            let steps = self.times.steps_within(load, now - since).min(steps);
            self.doing = Doing::Decodes { since, steps };
            self.until = since + self.times.decode(load, steps);
        }
    }

    /// Removes what is not wanted any more: of which nobody wants to hear either.
    pub(super) fn remove_cancelled(&mut self, workload: &Workload) -> Vec<u32> {
        let cancelled = std::mem::take(&mut self.cancelled);
        for request in &cancelled {
            let found = self.sequences.iter().find(|(_, sequence)| sequence.request == *request);
            if let Some(number) = found.map(|(number, _)| number) {
                self.take_out(number, workload);
            }
        }
        cancelled
    }

    /// Takes a sequence out before its end: what it was, with the tokens that it has by now.
    pub(super) fn take_out(&mut self, number: usize, workload: &Workload) -> EngineSequence {
        let mut sequence = self.sequences.remove(number);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.release(&sequence, workload);
        match sequence.batched {
            Some(batched) => {
                sequence.generated += u32::try_from(self.batch.step() - batched.joined).unwrap_or(u32::MAX);
                self.batch.cut_off(number, batched);
            }
            None => self.prefilling.retain(|other| *other != number),
        }
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::engine_model::EngineModel;
    use crate::engine::model_worker::EngineEvent;

    fn workload() -> Workload {
        let mut workload = Workload::new(512);
        (0..8).for_each(|_| workload.push(0.0, 4000, 200, &[]));
        workload
    }

    /// Lets an engine go on until it is idle: what came of it when.
    fn rest(engine: &mut ModelWorker, workload: &Workload) -> Vec<(f64, EngineEvent)> {
        let (mut all, mut events) = (Vec::new(), Vec::new());
        while engine.until().is_finite() {
            let at = engine.until();
            engine.end_step(workload, &mut events);
            all.extend(events.drain(..).map(|event| (at, event)));
        }
        all
    }

    fn end(engine: &mut ModelWorker, workload: &Workload) -> f64 {
        rest(engine, workload).last().expect("something came of it").0
    }

    fn begun(workload: &Workload) -> ModelWorker {
        let mut engine = ModelWorker::new(&EngineModel::default(), 1.0, workload);
        assert!(engine.enqueue(0.0, 0, workload));
        // Its prompt takes two steps; then it decodes.
        engine.end_step(workload, &mut Vec::new());
        engine.end_step(workload, &mut Vec::new());
        engine
    }

    #[test]
    fn engine_that_stands_still_does_the_same_later() {
        let workload = workload();
        let plain = end(&mut begun(&workload), &workload);
        let mut engine = begun(&workload);
        engine.pause(1.5, 30.0);
        assert!((end(&mut engine, &workload) - plain - 30.0).abs() < 1e-9);
        let mut idle = ModelWorker::new(&EngineModel::default(), 1.0, &workload);
        idle.pause(0.0, 30.0);
        idle.enqueue(10.0, 0, &workload);
        assert!((end(&mut idle, &workload) - plain - 30.0).abs() < 1e-9);
    }

    #[test]
    fn engine_becomes_slow_with_its_next_step() {
        let workload = workload();
        let plain = end(&mut begun(&workload), &workload);
        let mut engine = begun(&workload);
        let now = plain - 1.0;
        engine.set_speed(now, 0.5);
        let rest = end(&mut engine, &workload) - now;
        assert!((1.9..2.05).contains(&rest), "{rest}");
    }

    #[test]
    fn dead_engine_has_lost_all_and_begins_anew() {
        let workload = workload();
        let mut engine = begun(&workload);
        for request in [5, 3, 4] {
            engine.enqueue(1.0, request, &workload);
        }
        assert_eq!(engine.crash(1.2), [0, 3, 4, 5]);
        assert!(engine.until().is_infinite());
        let look = engine.look(1.2);
        assert_eq!((look.running, look.waiting, look.queued_tokens, look.kv_usage), (0, 0, 0, 0.0));
        engine.enqueue(9.0, 0, &workload);
        let model = EngineModel::default();
        assert!((end(&mut engine, &workload) - 9.0 - model.alone(4000, 200)).abs() < 1e-6);
    }

    #[test]
    fn request_that_is_cancelled_gives_its_place_and_its_blocks_back() {
        let workload = workload();
        let model = EngineModel { max_sequences: 2, ..EngineModel::default() };
        let mut engine = ModelWorker::new(&model, 1.0, &workload);
        (0..5).for_each(|request| assert!(engine.enqueue(0.0, request, &workload)));
        engine.end_step(&workload, &mut Vec::new());
        // One that waits, one whose prompt is processed, and later one that decodes.
        engine.cancel(0.3, 3);
        engine.cancel(0.3, 0);
        let mut events = Vec::new();
        while !events.contains(&EngineEvent::FirstToken { request: 2, cached: 0 }) {
            engine.end_step(&workload, &mut events);
        }
        let now = engine.until() - 0.001;
        engine.cancel(now, 2);
        events.extend(rest(&mut engine, &workload).into_iter().map(|(_, event)| event));
        let ended: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                EngineEvent::Finished { request } => Some(*request),
                EngineEvent::FirstToken { .. } => None,
            })
            .collect();
        assert_eq!(ended, [1, 4]);
        let look = engine.look(1e6);
        assert_eq!((look.running, look.waiting, look.queued_tokens, look.kv_usage), (0, 0, 0, 0.0));
    }
}
