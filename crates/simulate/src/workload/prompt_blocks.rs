//! The prefix hashes of a prompt, for policies that want them.

use crate::workload::requests::Workload;

/// Makes prefix hashes: so many for each unit of a prompt. They are not those of a text: equal where
/// prompts are, which is all that anybody learns of them.
#[derive(Clone, Debug)]
pub struct PromptBlocks {
    tokens: u32,
    most: usize,
    hashes: Vec<u64>,
}

impl PromptBlocks {
    /// Hashes for each block of so many tokens, at most so many of a prompt.
    pub fn new(tokens: u32, most: usize) -> Self {
        Self { tokens: tokens.max(1), most, hashes: Vec::new() }
    }

    /// The hashes of a prompt's whole blocks.
    pub fn of(&mut self, request: u32, workload: &Workload) -> &[u64] {
        self.hashes.clear();
        let Some(asked) = workload.request(request) else { return &[] };
        let count = ((asked.prompt_tokens / self.tokens) as usize).min(self.most);
        let (unit, tokens) = (u64::from(workload.unit_tokens()), u64::from(self.tokens));
        // The unit that the block's last token is in: where blocks are larger than units, or begin in one and
        // end in another, it is that which differs if an earlier one does. Divisions would take longer than all
        // else here.
        let mut units = workload.units(request).iter();
        let (mut id, mut end, mut at) = (0, 0, 0);
        self.hashes.extend((0..count).map(|_| {
            at += tokens;
            while end < at {
                end += unit;
                id = units.next().copied().unwrap_or_default();
            }
            spread(id, at)
        }));
        &self.hashes
    }
}

impl PromptBlocks {
    /// The hashes of those blocks that end in one unit of a prompt, with the unit before it, at this place
    /// among its units; and the hash of the block before them.
    pub(crate) fn of_unit(
        &mut self,
        (before, id): (Option<u64>, u64),
        depth: u32,
        unit_tokens: u32,
    ) -> (Option<u64>, &[u64]) {
        let (tokens, unit) = (u64::from(self.tokens), u64::from(unit_tokens));
        let begin = u64::from(depth) * unit / tokens;
        let end = ((u64::from(depth) + 1) * unit / tokens).min(self.most as u64);
        self.hashes.clear();
        self.hashes.extend((begin + 1..=end).map(|block| spread(id, block * tokens)));
        let after = (begin > 0).then(|| spread(before.unwrap_or_default(), begin * tokens));
        (after, &self.hashes)
    }
}

/// Two numbers as one that looks like chance (SplitMix64).
#[inline]
fn spread(id: u64, at: u64) -> u64 {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xd134_2543_de82_ef95);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_each_unit_are_those_of_the_prompt() {
        let mut workload = Workload::new(500);
        workload.push(0.0, 1500, 1, &[1, 2, 3]);
        let mut blocks = PromptBlocks::new(16, 90);
        let all = blocks.of(0, &workload).to_vec();
        let mut so_far = Vec::new();
        for (depth, (before, id)) in [(None, 1), (Some(1), 2), (Some(2), 3)].into_iter().enumerate() {
            let (after, hashes) = blocks.of_unit((before, id), u32::try_from(depth).unwrap(), 500);
            assert_eq!(after, so_far.last().copied());
            so_far.extend_from_slice(hashes);
        }
        assert_eq!((so_far.len(), so_far), (90, all));
    }

    #[test]
    fn hashes_are_equal_as_far_as_prompts_are() {
        let mut workload = Workload::new(512);
        workload.push(0.0, 1200, 1, &[1, 2, 3]);
        workload.push(0.0, 1100, 1, &[1, 2, 4]);
        let mut blocks = PromptBlocks::new(16, 100);
        let one = blocks.of(0, &workload).to_vec();
        let other = blocks.of(1, &workload).to_vec();
        assert_eq!((one.len(), other.len()), (75, 68));
        assert!(one[..64] == other[..64] && one[64] != other[64]);
        let distinct: std::collections::HashSet<_> = one.iter().chain(&other).collect();
        assert_eq!(distinct.len(), 75 + 4);
        assert_eq!(PromptBlocks::new(16, 10).of(0, &workload), &one[..10]);
        assert_eq!(PromptBlocks::new(512, 10).of(0, &workload).len(), 2);
    }
}
