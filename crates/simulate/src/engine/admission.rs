//! Who is processed: blocks for those who begin, and who has to make room.

use crate::engine::model_worker::{EnginePart, ModelWorker};
use crate::engine::sequence::{EngineSequence, saturated};
use crate::engine::waiting_line::QueuedRequest;
use crate::workload::Workload;

impl ModelWorker {
    /// Blocks of a prompt with so many whole units and of what is generated after it, one token at least.
    pub(super) fn blocks_of(&self, units: usize, tokens: u32) -> u32 {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let tail = tokens.saturating_sub(units.saturating_mul(self.unit_tokens));
        units
            .saturating_mul(self.unit_blocks)
            .saturating_add(tail / self.model.block_tokens)
            .saturating_add(1)
    }

    /// The units of a prompt that are looked for in the cache.
    pub(super) fn units<'a>(&self, request: u32, workload: &'a Workload) -> &'a [u64] {
        let keeps = self.model.prefix_cache && self.part != EnginePart::Decode;
        if keeps { workload.whole_units(request) } else { &[] }
    }

    /// Tokens of so many units of a prompt; its last token is processed in any case.
    pub(super) fn tokens_of(&self, units: usize, prompt_tokens: u32) -> u32 {
        let tokens = u32::try_from(units).unwrap_or(u32::MAX).saturating_mul(self.unit_tokens);
        tokens.min(prompt_tokens.saturating_sub(1))
    }

    /// Begins the next of those that wait, if there is room; its number among the sequences.
    pub(super) fn admit(&mut self, now: f64, workload: &Workload) -> Option<u32> {
        if self.running() >= self.model.max_sequences {
            return None;
        }
        let at = self.line.next(now)?;
        let QueuedRequest { request, since, generated, .. } = *self.line.get(at)?;
        let asked = workload.request(request)?;
        let units = self.units(request, workload);
        let target = asked.prompt_tokens.saturating_add(generated);
        let hit = self.cache.matched(units);
        let shared = units.get(..hit.units).unwrap_or_default();
        let own = self.blocks_of(units.len(), target) - self.blocks_shared(hit.units);
        // What decodes beside it may need blocks in the same step.
        let spoken_for = hit.idle_blocks.saturating_add(saturated(self.batch.blocks_for(1)));
        if self.cache.available() < own.saturating_add(spoken_for) {
            return None;
        }
        self.line.remove(at);
        self.cache.pin(shared);
        self.cache.take(own);
        let cached = self.tokens_of(hit.units, target);
        self.admitted += 1;
        let number = self.sequences.insert(EngineSequence {
            request,
            since,
            admitted: self.admitted,
            target,
            // What another worker processed is here; but after a preemption it is not.
            computed: if self.part == EnginePart::Decode && generated == 0 { target } else { cached },
            cached,
            generated,
            shared: saturated(hit.units as u64),
            own,
            batched: None,
        });
        let number = saturated(number as u64);
        self.prefilling.push_back(number);
        Some(number)
    }

    fn blocks_shared(&self, units: usize) -> u32 {
        saturated(units as u64).saturating_mul(self.unit_blocks)
    }

    /// What a sequence has processed by now is there for others too.
    pub(super) fn share(&mut self, number: u32, workload: &Workload) {
        let Some(sequence) = self.sequences.get(number as usize) else { return };
        let units = self.units(sequence.request, workload);
        let whole = units.len().min((sequence.computed / self.unit_tokens) as usize);
        let new = units.get(sequence.shared as usize..whole).unwrap_or_default();
        new.iter().for_each(|id| self.cache.keep(*id));
        let blocks = self.blocks_shared(new.len());
        if let Some(sequence) = self.sequences.get_mut(number as usize) {
            sequence.own -= blocks;
            sequence.shared += saturated(new.len() as u64);
        }
    }

    /// A sequence is processed no longer: its blocks are free, or idle where others may want them.
    pub(super) fn release(&mut self, sequence: &EngineSequence, workload: &Workload) {
        let (step, block) = (self.batch.step(), self.model.block_tokens);
        let grown = sequence.batched.map_or(0, |batched| batched.grown(step, block));
        self.cache.give_back(sequence.own + grown);
        let units = self.units(sequence.request, workload);
        self.cache.let_go(units.get(..sequence.shared as usize).unwrap_or_default());
    }

    /// A sequence has all its tokens: what is known of its answer is there for others too.
    pub(super) fn retire(&mut self, sequence: &EngineSequence, workload: &Workload) {
        if !workload.has_turns() || !self.model.prefix_cache || self.part != EnginePart::Whole {
            return self.release(sequence, workload);
        }
        let (step, block) = (self.batch.step(), self.model.block_tokens);
        let own = sequence.own + sequence.batched.map_or(0, |batched| batched.grown(step, block));
        let all = workload.whole_units_with_answer(sequence.request);
        let room = (own / self.unit_blocks) as usize;
        let all = all.get(..all.len().min(sequence.shared as usize + room)).unwrap_or_default();
        let new = all.get(sequence.shared as usize..).unwrap_or_default();
        new.iter().for_each(|id| self.cache.keep(*id));
        self.cache.give_back(own - self.blocks_shared(new.len()));
        self.cache.let_go(all);
    }

    /// Preempts who was admitted last until there are blocks for another step.
    pub(super) fn make_room(&mut self, workload: &Workload) {
        while self.batch.blocks_for(1) > self.cache.available().into() {
            let last = self.sequences.iter().max_by_key(|(_, sequence)| sequence.admitted);
            let Some((number, _)) = last else { return };
            self.preempt(number, workload);
        }
    }

    fn preempt(&mut self, number: usize, workload: &Workload) {
        let sequence = self.take_out(number, workload);
        self.totals.preemptions += 1;
        let uncached = sequence.target.saturating_sub(sequence.cached);
        let work = self.times.prompt(sequence.cached, uncached);
        let EngineSequence { request, since, generated, .. } = sequence;
        self.line.push_front(QueuedRequest { request, since, uncached, work, generated });
    }
}
