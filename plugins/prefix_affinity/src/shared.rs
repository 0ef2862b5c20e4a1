//! How much of a prompt is what many recent prompts begin with, such as a system prompt.

use sgl_policy_sdk::{hash, mix};

/// Prompts that are remembered.
const RECENT: usize = 64;

/// Where beginnings are compared, in bytes. Between two of them it is not known what is shared.
const LEVELS: [usize; 12] = [
    512,
    1 << 10,
    2 << 10,
    3 << 10,
    4 << 10,
    6 << 10,
    8 << 10,
    12 << 10,
    16 << 10,
    24 << 10,
    32 << 10,
    64 << 10,
];

/// Hashes of a prompt's beginnings, one for each level that it reaches; 0 beyond.
type Beginnings = [u64; LEVELS.len()];

/// The beginnings of the last prompts of this instance.
#[derive(Debug)]
pub(crate) struct RecentPrompts {
    prompts: [Beginnings; RECENT],
    next: usize,
}

/// What a prompt has in common with many others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedPart {
    /// Bytes that are shared, at least.
    pub(crate) at_least: usize,
    /// What is held beyond this is the prompt's own.
    pub(crate) below: usize,
}

impl RecentPrompts {
    pub(crate) const fn new() -> Self {
        Self { prompts: [[0; LEVELS.len()]; RECENT], next: 0 }
    }

    /// Remembers a prompt, and says how much of it is shared: the beginning of so many recent ones that it
    /// stands for twice the share of one of these workers, which no hash can balance. A few equal ones may be
    /// a conversation; three quarters of all are none.
    pub(crate) fn shared(&mut self, text: &[u8], workers: usize) -> SharedPart {
        let prompt = beginnings(text);
        if let Some(oldest) = self.prompts.get_mut(self.next) {
            *oldest = prompt;
        }
        self.next = (self.next + 1) % RECENT;
        let twice_its_share = (2 * RECENT).checked_div(workers).unwrap_or(RECENT);
        let many = twice_its_share.clamp(RECENT / 4, 3 * RECENT / 4);
        let is_shared = |level: usize| {
            let equal = |other: &&Beginnings| other.get(level) == prompt.get(level);
            prompt.get(level).is_some_and(|hash| *hash != 0)
                && self.prompts.iter().filter(equal).count() >= many
        };
        // Each beginning has the shorter ones in it, so those are shared as well.
        let levels = (0..LEVELS.len()).take_while(|level| is_shared(*level)).count();
        let at = |level: usize| LEVELS.get(level).copied();
        SharedPart {
            at_least: levels.checked_sub(1).and_then(at).unwrap_or(0),
            below: at(levels).unwrap_or(128 << 10),
        }
    }
}

fn beginnings(text: &[u8]) -> Beginnings {
    let mut hashes = [0; LEVELS.len()];
    let (mut above, mut start) = (0, 0);
    for (kept, level) in hashes.iter_mut().zip(LEVELS) {
        let Some(piece) = text.get(start..level) else { break };
        above = mix(above ^ hash(piece));
        (*kept, start) = (above, level);
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prompt of this size that begins like others of the same letter.
    fn prompt(letter: u8, shared: usize, own: u64) -> Vec<u8> {
        let mut text = std::vec![letter; shared];
        text.extend(own.to_le_bytes().repeat(1_000));
        text
    }

    #[test]
    fn beginning_is_shared_while_it_is_that_of_twice_a_workers_share() {
        for (workers, bound) in [(0, 48), (1, 48), (2, 48), (4, 32), (8, 16), (1000, 16)] {
            let mut recent = RecentPrompts::new();
            for own in 1..bound {
                let unknown = SharedPart { at_least: 0, below: 512 };
                assert_eq!(recent.shared(&prompt(b'a', 5_000, own), workers), unknown, "{workers}, {own}");
            }
            let known = SharedPart { at_least: 4096, below: 6144 };
            assert_eq!(recent.shared(&prompt(b'a', 5_000, 99), workers), known, "{workers}");
            (0..64).for_each(|own| {
                recent.shared(&prompt(b'b', 0, 1_000 + own), workers);
            });
            assert_eq!(recent.shared(&prompt(b'a', 5_000, 100), workers).at_least, 0, "it is forgotten");
        }
    }

    #[test]
    fn short_prompts_share_nothing_and_very_long_ones_end_beyond_the_last_level() {
        let mut recent = RecentPrompts::new();
        for _ in 0..100 {
            assert_eq!(recent.shared(&[1; 511], 8).at_least, 0);
        }
        let long = std::vec![2; 1 << 20];
        let shared = (0..16).map(|_| recent.shared(&long, 8)).last();
        assert_eq!(shared, Some(SharedPart { at_least: 64 << 10, below: 128 << 10 }));
    }
}
