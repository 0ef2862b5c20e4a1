//! The sequences of one engine that decode: what a step changes, for any number of steps at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::step_time::DecodeLoad;

/// The sequences that get a token in each step.
///
/// All of them grow alike, so what differs is kept by the step at which it happens: when each ends, and at
/// which steps, in a circle as long as a block, so many need another block.
#[derive(Debug)]
pub(crate) struct DecodeBatch {
    /// Steps so far.
    step: u64,
    load: DecodeLoad,
    /// The step after which a sequence has all its tokens, and which one.
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    /// How many need another block at the steps whose remainder this is.
    growing: Box<[u32]>,
}

/// One sequence of the batch, as whoever removes it must know it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchedSequence {
    /// The step after which it joined.
    pub(crate) joined: u64,
    /// Tokens of its last block that others cannot share, before it joined.
    pub(crate) tail: u32,
    /// Tokens of its context when it joined.
    pub(crate) context: u32,
}

impl DecodeBatch {
    /// Nobody decodes yet. A block has so many tokens.
    pub(crate) fn new(block_tokens: u32) -> Self {
        let growing = (0..block_tokens).map(|_| 0).collect();
        Self { step: 0, load: DecodeLoad::default(), ends: BinaryHeap::new(), growing }
    }

    /// Steps so far.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    /// What decodes in the next step.
    pub(crate) fn load(&self) -> DecodeLoad {
        self.load
    }

    /// How many decode.
    pub(crate) fn len(&self) -> u32 {
        self.load.sequences
    }

    /// A sequence joins that is to get so many tokens more, at least one.
    pub(crate) fn join(&mut self, number: u32, sequence: BatchedSequence, tokens: u32) {
        self.load.sequences += 1;
        self.load.context += u64::from(sequence.context);
        self.ends.push(Reverse((self.step + u64::from(tokens), number)));
        self.place(sequence, 1);
    }

    /// The next sequence that has all its tokens.
    pub(crate) fn take_ended(&mut self) -> Option<u32> {
        let Reverse((end, number)) = *self.ends.peek()?;
        if end > self.step {
            return None;
        }
        self.ends.pop();
        Some(number)
    }

    /// A sequence that was [taken](Self::take_ended) leaves.
    pub(crate) fn leave(&mut self, sequence: BatchedSequence) {
        self.load.sequences -= 1;
        self.load.context -= u64::from(sequence.context) + (self.step - sequence.joined);
        self.place(sequence, 1_u32.wrapping_neg());
    }

    /// A sequence leaves before its end.
    pub(crate) fn cut_off(&mut self, number: u32, sequence: BatchedSequence) {
        self.ends.retain(|Reverse((_, other))| *other != number);
        self.leave(sequence);
    }

    /// Steps until the next sequence ends.
    pub(crate) fn steps_to_end(&self) -> u64 {
        self.ends.peek().map_or(0, |Reverse((end, _))| end - self.step)
    }

    /// Blocks that so many steps need.
    pub(crate) fn blocks_for(&self, steps: u64) -> u64 {
        let circle = self.growing.len() as u64;
        let rounds = steps / circle * u64::from(self.len());
        let rest = (1..=steps % circle).map(|step| u64::from(self.growing_at(self.step + step)));
        rounds + rest.sum::<u64>()
    }

    /// How many of the next `steps` can be made with so many blocks.
    pub(crate) fn steps_with(&self, blocks: u32, steps: u64) -> u64 {
        let blocks = u64::from(blocks);
        // Each sequence needs a block a circle at most, and one at its beginning.
        let circle = self.growing.len() as u64;
        if (steps / circle + 1) * u64::from(self.len()) <= blocks || self.blocks_for(steps) <= blocks {
            return steps;
        }
        let rounds = blocks / u64::from(self.len()).max(1);
        let (mut made, mut left) = (rounds * circle, blocks - rounds * u64::from(self.len()));
        while made < steps {
            match left.checked_sub(self.growing_at(self.step + made + 1).into()) {
                Some(rest) => left = rest,
                None => break,
            }
            made += 1;
        }
        made.min(steps)
    }

    /// So many steps are over.
    pub(crate) fn advance(&mut self, steps: u64) {
        self.step += steps;
        self.load.context += steps * u64::from(self.load.sequences);
    }

    fn growing_at(&self, step: u64) -> u32 {
        self.growing.get(self.remainder(step)).copied().unwrap_or_default()
    }

    /// A block is full when a sequence has grown by what its tail leaves of it.
    fn place(&mut self, sequence: BatchedSequence, change: u32) {
        let circle = self.growing.len() as u64;
        let full_at = sequence.joined + circle - u64::from(sequence.tail) % circle;
        let at = self.remainder(full_at);
        if let Some(count) = self.growing.get_mut(at) {
            *count = count.wrapping_add(change);
        }
    }

    fn remainder(&self, step: u64) -> usize {
        usize::try_from(step % self.growing.len() as u64).unwrap_or_default()
    }
}

impl BatchedSequence {
    /// Blocks that it needed more by this step than when it joined.
    pub(crate) fn grown(&self, step: u64, block_tokens: u32) -> u32 {
        let block = u64::from(block_tokens);
        let blocks = (u64::from(self.tail) + step - self.joined) / block - u64::from(self.tail) / block;
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(batch: &DecodeBatch, tail: u32, context: u32) -> BatchedSequence {
        BatchedSequence { joined: batch.step(), tail, context }
    }

    #[test]
    fn many_steps_at_once_need_the_blocks_of_each_of_them() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut batch = DecodeBatch::new(16);
        let mut all = Vec::new();
        for number in 0..9 {
            batch.advance(random.u64(..20));
            let one = sequence(&batch, random.u32(..40), 100);
            batch.join(number, one, 1000);
            all.push(one);
        }
        let grown = |step: u64| all.iter().map(|one| u64::from(one.grown(step, 16))).sum::<u64>();
        for steps in [0, 1, 5, 16, 17, 100] {
            assert_eq!(batch.blocks_for(steps), grown(batch.step() + steps) - grown(batch.step()), "{steps}");
        }
        for blocks in 0..60 {
            let steps = batch.steps_with(blocks, 90);
            assert!(batch.blocks_for(steps) <= blocks.into());
            assert!(steps == 90 || batch.blocks_for(steps + 1) > blocks.into(), "{blocks}: {steps}");
        }
    }

    #[test]
    fn sequences_end_in_their_order_and_take_their_context_with_them() {
        let mut batch = DecodeBatch::new(4);
        let (long, short) = (sequence(&batch, 1, 10), sequence(&batch, 2, 20));
        batch.join(0, long, 9);
        batch.join(1, short, 5);
        assert_eq!(batch.steps_to_end(), 5);
        batch.advance(5);
        assert_eq!((batch.take_ended(), batch.take_ended()), (Some(1), None));
        assert_eq!(batch.load(), DecodeLoad { sequences: 2, context: 40 });
        batch.leave(short);
        assert_eq!(batch.load(), DecodeLoad { sequences: 1, context: 15 });
        batch.cut_off(0, long);
        assert_eq!((batch.load(), batch.steps_to_end()), (DecodeLoad::default(), 0));
        assert_eq!(batch.blocks_for(100), 0);
    }
}
