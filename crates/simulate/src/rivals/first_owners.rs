//! A prefix tree that says who had a prompt first.

use std::collections::HashMap;

/// For each block of prompts, where the first of them was sent. A block's hash names all blocks before it
/// too, so that this is a tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstOwners {
    owners: HashMap<u64, usize>,
}

impl FirstOwners {
    /// How many of these blocks are known, from the first on, and who had the last of them first.
    pub(crate) fn matched(&self, blocks: &[u64]) -> (usize, Option<usize>) {
        let known = blocks.iter().map_while(|block| self.owners.get(block));
        known.fold((0, None), |(count, _), owner| (count + 1, Some(*owner)))
    }

    /// These blocks go to this worker.
    pub(crate) fn send(&mut self, worker: usize, blocks: &[u64]) {
        for block in blocks {
            self.owners.entry(*block).or_insert(worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_who_had_a_prompt_stays_its_owner() {
        let mut owners = FirstOwners::default();
        owners.send(2, &[1, 2]);
        owners.send(0, &[1, 2, 3]);
        assert_eq!(owners.matched(&[1, 2, 9]), (2, Some(2)));
        assert_eq!(owners.matched(&[1, 2, 3, 4]), (3, Some(0)));
        assert_eq!(owners.matched(&[5]), (0, None));
    }
}
