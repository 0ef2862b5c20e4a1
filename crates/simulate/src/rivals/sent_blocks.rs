//! What a router believes that workers hold, since it sent it there.

use std::collections::{BTreeMap, HashMap};

/// The blocks that were sent to one worker, the one that was sent longest ago first.
#[derive(Clone, Debug, Default)]
struct SentTo {
    /// When each was last sent.
    stamps: HashMap<u64, u64>,
    /// The same the other way round.
    order: BTreeMap<u64, u64>,
}

/// The blocks that were sent to each worker, as many as fit there.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentBlocks {
    workers: Vec<SentTo>,
    clock: u64,
}

impl SentBlocks {
    /// How many of these blocks, from the first on, were sent to this worker and not forgotten.
    pub(crate) fn matched(&self, worker: usize, blocks: &[u64]) -> usize {
        let Some(sent) = self.workers.get(worker) else { return 0 };
        blocks.iter().take_while(|block| sent.stamps.contains_key(block)).count()
    }

    /// These blocks are sent to this worker, of which it remembers so many.
    pub(crate) fn send(&mut self, worker: usize, blocks: &[u64], most: usize) {
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, SentTo::default);
        }
        let Some(sent) = self.workers.get_mut(worker) else { return };
        for block in blocks {
            self.clock += 1;
            if let Some(before) = sent.stamps.insert(*block, self.clock) {
                sent.order.remove(&before);
            }
            sent.order.insert(self.clock, *block);
        }
        while sent.stamps.len() > most {
            let Some((_, oldest)) = sent.order.pop_first() else { return };
            sent.stamps.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_holds_what_was_sent_last_as_far_as_it_fits() {
        let mut sent = SentBlocks::default();
        sent.send(1, &[1, 2, 3], 4);
        assert_eq!((sent.matched(1, &[1, 2, 9]), sent.matched(0, &[1]), sent.matched(7, &[1])), (2, 0, 0));
        sent.send(1, &[1, 4, 5], 4);
        // Of 2, 3, 1, 4, 5 the first is forgotten, and with it 3 is no part of a prefix.
        assert_eq!(
            (sent.matched(1, &[1, 4, 5]), sent.matched(1, &[1, 2, 3]), sent.matched(1, &[3])),
            (3, 1, 1)
        );
    }
}
