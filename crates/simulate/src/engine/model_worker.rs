//! One engine: what it does next, and what comes of it.

use std::collections::VecDeque;

use slab::Slab;

use crate::engine::block_cache::{BlockCache, KeptUnitChange};
use crate::engine::decode_batch::{BatchedSequence, DecodeBatch};
use crate::engine::engine_model::EngineModel;
use crate::engine::sequence::{Chunk, EngineSequence, saturated};
use crate::engine::step_time::StepTime;
use crate::engine::waiting_line::{QueuedRequest, WaitingLine};
use crate::workload::Workload;

/// What an engine tells of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EngineEvent {
    /// Its first token is there.
    FirstToken {
        /// Its number in the workload.
        request: u32,
        /// Tokens of its prompt that the cache held.
        cached: u32,
    },
    /// All its tokens are there.
    Finished {
        /// Its number in the workload.
        request: u32,
    },
}

impl EngineEvent {
    /// Whose event it is.
    pub fn request(&self) -> u32 {
        let (Self::FirstToken { request, .. } | Self::Finished { request }) = self;
        *request
    }
}

/// Which part of requests an engine serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnginePart {
    /// All of it.
    #[default]
    Whole,
    /// It processes prompts; then a request is finished for it.
    Prefill,
    /// It generates answers to prompts that another one has processed. It keeps nothing of them.
    Decode,
}

/// What an engine looks like from outside at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerLook {
    /// Sequences that are processed.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Prompt tokens that wait and were not cached when they came.
    pub queued_tokens: u64,
    /// Share of the cache that sequences use.
    pub kv_usage: f64,
    /// Tokens that were generated so far.
    pub generated: u64,
}

/// What it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerTotals {
    /// Seconds in which it was not idle.
    pub busy: f64,
    /// Prompt tokens that it processed, those of preempted requests again.
    pub prompt_tokens: u64,
    /// How often a request was preempted.
    pub preemptions: u64,
}

/// What it does until the next moment at which something changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing {
    Nothing,
    /// One step with parts of prompts in it.
    Prompts {
        since: f64,
    },
    /// So many steps in which nothing else happens than decoding.
    Decodes {
        since: f64,
        steps: u64,
    },
}

/// One engine of a fleet.
#[derive(Debug)]
pub struct ModelWorker {
    pub(super) model: EngineModel,
    pub(super) part: EnginePart,
    pub(super) times: StepTime,
    /// Those that count from the end of the step on.
    pub(super) next_times: Option<StepTime>,
    /// Until when it stands still.
    pub(super) paused_until: f64,
    /// Requests that are not wanted any more, though they are in the step.
    pub(super) cancelled: Vec<u32>,
    /// Tokens and blocks of a unit of the workload's prompts.
    pub(super) unit_tokens: u32,
    pub(super) unit_blocks: u32,
    pub(super) cache: BlockCache,
    /// Requests on their way, with the moment at which they are there; the first is the next.
    pub(super) arriving: VecDeque<(f64, u32)>,
    pub(super) line: WaitingLine,
    pub(super) sequences: Slab<EngineSequence>,
    /// Those whose prompts are processed, the first that was admitted first.
    pub(super) prefilling: VecDeque<u32>,
    pub(super) batch: DecodeBatch,
    pub(super) admitted: u64,
    pub(super) totals: WorkerTotals,
    /// What of prompts is in the step.
    pub(super) chunks: Vec<Chunk>,
    pub(super) doing: Doing,
    pub(super) until: f64,
    pub(super) generated: u64,
}

impl ModelWorker {
    /// An idle engine of this model and speed, for prompts of this workload.
    pub fn new(model: &EngineModel, speed: f64, workload: &Workload) -> Self {
        let unit_tokens = workload.unit_tokens();
        let unit_blocks = unit_tokens.div_ceil(model.block_tokens);
        Self {
            model: model.clone(),
            part: EnginePart::Whole,
            times: StepTime::new(model, speed),
            next_times: None,
            paused_until: 0.0,
            cancelled: Vec::new(),
            unit_tokens,
            unit_blocks,
            cache: BlockCache::new(model.kv_blocks, unit_blocks),
            arriving: VecDeque::new(),
            line: WaitingLine::new(model.order),
            sequences: Slab::new(),
            prefilling: VecDeque::new(),
            batch: DecodeBatch::new(model.block_tokens),
            admitted: 0,
            totals: WorkerTotals::default(),
            chunks: Vec::new(),
            doing: Doing::Nothing,
            until: f64::INFINITY,
            generated: 0,
        }
    }

    /// The same for a part of requests.
    #[must_use]
    pub fn with_part(self, part: EnginePart) -> Self {
        Self { part, ..self }
    }

    /// Notes what changes in its cache, from now on.
    pub fn start_log(&mut self) {
        self.cache.start_log();
    }

    /// What changed in its cache since this was asked last.
    pub fn take_log(&mut self) -> Vec<KeptUnitChange> {
        self.cache.take_log()
    }

    /// When [`end_step`](Self::end_step) is due; infinite while it is idle.
    pub fn until(&self) -> f64 {
        self.arriving.front().map_or(self.until, |(at, _)| self.until.min(*at))
    }

    /// What it has done so far.
    pub fn totals(&self) -> &WorkerTotals {
        &self.totals
    }

    /// Takes a request; false if it could never be served, whatever else is there. `until` may have changed.
    pub fn enqueue(&mut self, now: f64, request: u32, workload: &Workload) -> bool {
        let Some(asked) = workload.request(request).filter(|_| self.can_serve(request, workload)) else {
            return false;
        };
        // What was computed elsewhere comes over with the transfer.
        let is_second = self.part == EnginePart::Decode;
        let way = if is_second { 0.0 } else { self.times.way(asked.prompt_tokens) };
        if way > 0.0 {
            let at = now + way;
            let place = self.arriving.partition_point(|(other, _)| *other <= at);
            self.arriving.insert(place, (at, request));
        } else {
            self.arrived(now, request, workload);
        }
        true
    }

    /// A request is there: it waits, and begins with the next step if it can.
    fn arrived(&mut self, now: f64, request: u32, workload: &Workload) {
        let Some(asked) = workload.request(request) else { return };
        let cached =
            if self.part == EnginePart::Decode { asked.prompt_tokens } else { self.held(request, workload) };
        let uncached = asked.prompt_tokens - cached;
        let work = self.times.prompt(cached, uncached);
        let was_waiting = self.line.len() > 0;
        self.line.push(QueuedRequest { request, since: now, uncached, work, generated: 0 });
        match self.doing {
            Doing::Nothing => self.plan(now, workload),
            // It can begin when the step ends, unless others could not either.
            Doing::Decodes { .. } if !was_waiting && self.running() < self.model.max_sequences => {
                self.cut_leap(now);
            }
            Doing::Decodes { .. } | Doing::Prompts { .. } => {}
        }
    }

    /// Whether it could serve a request if nobody else was there.
    pub fn can_serve(&self, request: u32, workload: &Workload) -> bool {
        let Some(asked) = workload.request(request) else { return false };
        let output = if self.part == EnginePart::Prefill { 1 } else { asked.output_tokens };
        let tokens = asked.prompt_tokens.saturating_add(output);
        self.blocks_of(self.units(request, workload).len(), tokens) <= self.model.kv_blocks
    }

    /// Ends what it does, at [`until`](Self::until), or receives a request that was on its way; adds what came
    /// of it to `events`, and goes on.
    pub fn end_step(&mut self, workload: &Workload, events: &mut Vec<EngineEvent>) {
        if let Some((at, request)) = self.arriving.pop_front_if(|(at, _)| *at <= self.until) {
            return self.arrived(at, request, workload);
        }
        let now = self.until;
        let (since, steps) = match self.doing {
            Doing::Nothing => return,
            Doing::Prompts { since } => (since, 1),
            Doing::Decodes { since, steps } => (since, steps),
        };
        self.totals.busy += now - since;
        self.decoded(steps, workload, events);
        self.processed(workload, events);
        if !self.cancelled.is_empty() {
            let cancelled = self.remove_cancelled(workload);
            events.retain(|event| !cancelled.contains(&event.request()));
        }
        if let Some(times) = self.next_times.take() {
            self.times = times;
        }
        self.plan(now, workload);
    }

    /// What it looks like now.
    pub fn look(&self, now: f64) -> WorkerLook {
        WorkerLook {
            running: self.running(),
            waiting: saturated(self.line.len() as u64),
            queued_tokens: self.line.uncached(),
            kv_usage: f64::from(self.cache.in_use()) / f64::from(self.model.kv_blocks),
            generated: self.generated + self.steps_so_far(now) * u64::from(self.batch.len()),
        }
    }

    /// Tokens of a prompt that its cache holds now.
    pub fn held(&self, request: u32, workload: &Workload) -> u32 {
        let tokens = workload.request(request).map_or(0, |asked| asked.prompt_tokens);
        self.tokens_of(self.cache.matched(self.units(request, workload)).units, tokens)
    }

    /// Tokens that each running request has by now, with its number in the workload.
    pub fn progress(&self, now: f64) -> impl Iterator<Item = (u32, u32)> + '_ {
        let steps = self.batch.step() + self.steps_so_far(now);
        self.sequences.iter().map(move |(_, sequence)| {
            let since = sequence.batched.map_or(0, |batched| steps - batched.joined);
            (sequence.request, sequence.generated + saturated(since))
        })
    }

    /// Sequences that are processed.
    pub(super) fn running(&self) -> u32 {
        self.batch.len() + saturated(self.prefilling.len() as u64)
    }

    /// Steps of those that it makes now that are over.
    fn steps_so_far(&self, now: f64) -> u64 {
        match self.doing {
            Doing::Decodes { since, steps } if now < self.until => {
                (self.times.steps_within(self.batch.load(), now - since) - 1).min(steps)
            }
            Doing::Decodes { steps, .. } => steps,
            Doing::Nothing | Doing::Prompts { .. } => 0,
        }
    }

    /// Each sequence that decodes got so many tokens; those that have all of them leave.
    fn decoded(&mut self, steps: u64, workload: &Workload, events: &mut Vec<EngineEvent>) {
        self.cache.take(saturated(self.batch.blocks_for(steps)));
        self.generated += steps * u64::from(self.batch.len());
        self.batch.advance(steps);
        while let Some(number) = self.batch.take_ended() {
            let Some(sequence) = self.sequences.try_remove(number as usize) else { continue };
            self.retire(&sequence, workload);
            if let Some(batched) = sequence.batched {
                self.batch.leave(batched);
            }
            events.push(EngineEvent::Finished { request: sequence.request });
        }
    }

    /// The parts of prompts that were in the step are processed. Those that are whole now have a token.
    fn processed(&mut self, workload: &Workload, events: &mut Vec<EngineEvent>) {
        let chunks = std::mem::take(&mut self.chunks);
        for Chunk { sequence: number, tokens } in &chunks {
            self.totals.prompt_tokens += u64::from(*tokens);
            let Some(sequence) = self.sequences.get_mut(*number as usize) else { continue };
            sequence.computed += tokens;
            let is_whole = sequence.computed == sequence.target;
            self.share(*number, workload);
            if is_whole {
                // Each chunk but the last is the rest of its prompt.
                self.prefilling.pop_front();
                self.begin_answer(*number, workload, events);
            }
        }
        self.chunks = chunks;
        self.chunks.clear();
    }

    fn begin_answer(&mut self, number: u32, workload: &Workload, events: &mut Vec<EngineEvent>) {
        let Some(sequence) = self.sequences.get(number as usize) else { return };
        let EngineSequence { request, cached, target, .. } = *sequence;
        let units = saturated(self.units(request, workload).len() as u64);
        let Some(sequence) = self.sequences.get_mut(number as usize) else { return };
        let Some(asked) = workload.request(request) else { return };
        sequence.generated += 1;
        self.generated += 1;
        if sequence.generated == 1 {
            events.push(EngineEvent::FirstToken { request, cached });
        }
        let is_part = self.part == EnginePart::Prefill;
        let left = if is_part { 0 } else { asked.output_tokens.saturating_sub(sequence.generated) };
        if left == 0 {
            let sequence = self.sequences.remove(number as usize);
            self.retire(&sequence, workload);
            return events.push(EngineEvent::Finished { request });
        }
        let tail = target - units * self.unit_tokens;
        let batched = BatchedSequence { joined: self.batch.step(), tail, context: target + 1 };
        sequence.batched = Some(batched);
        self.batch.join(number, batched, left);
    }

    /// What it does next.
    fn plan(&mut self, now: f64, workload: &Workload) {
        let now = now.max(self.paused_until);
        self.make_room(workload);
        let work = self.fill_step(now, workload);
        let load = self.batch.load();
        (self.doing, self.until) = if !self.chunks.is_empty() {
            (Doing::Prompts { since: now }, now + self.times.decode(load, 1) + work)
        } else if load.sequences > 0 {
            let steps = self.batch.steps_with(self.cache.available(), self.batch.steps_to_end());
            (Doing::Decodes { since: now, steps }, now + self.times.decode(load, steps))
        } else {
            (Doing::Nothing, f64::INFINITY)
        };
    }

    /// Puts parts of prompts into the next step, and returns what they take.
    fn fill_step(&mut self, now: f64, workload: &Workload) -> f64 {
        let (mut left, mut work, mut at) = (self.model.chunk_tokens, 0.0, 0);
        while left > 0 {
            let begun = self.prefilling.get(at).copied();
            let Some(number) = begun.or_else(|| self.admit(now, workload)) else { break };
            let Some(sequence) = self.sequences.get(number as usize) else { break };
            let tokens = left.min(sequence.target - sequence.computed);
            work += self.times.prompt(sequence.computed, tokens) + self.times.prompt_part();
            self.chunks.push(Chunk { sequence: number, tokens });
            left -= tokens;
            at += 1;
        }
        work
    }
}
