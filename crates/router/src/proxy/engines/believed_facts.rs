//! What is believed of an engine's facts: each change of them makes a new worker table.

use crate::proxy::engines::reading::Reading;
use sglang_router_rs::core::EngineFacts;

/// The facts of one worker, from what it says of itself and from its reports.
#[derive(Debug, Default)]
pub(crate) struct BelievedFacts {
    believed: EngineFacts,
    /// What a report said otherwise, once.
    doubted: Option<EngineFacts>,
}

impl BelievedFacts {
    /// An engine has said who it is.
    pub(crate) fn introduce(&mut self, said: EngineFacts) -> &EngineFacts {
        self.believed = said;
        self.doubted = None;
        &self.believed
    }

    /// A report holds facts, too, which win. A change of what was known counts if two reports in a row say
    /// it: an engine that says something else each time must not make a table each time.
    pub(crate) fn hear(&mut self, said: &EngineFacts) -> &EngineFacts {
        let wanted = EngineFacts {
            name: self.believed.name.clone(),
            kv_capacity_tokens: said.kv_capacity_tokens.or(self.believed.kv_capacity_tokens),
            block_size: said.block_size.or(self.believed.block_size),
            max_running_requests: said.max_running_requests.or(self.believed.max_running_requests),
            dp_rank: None,
            models: None,
        };
        if wanted == self.believed {
            self.doubted = None;
        } else if self.doubted.as_ref() == Some(&wanted) {
            self.believed = wanted;
            self.doubted = None;
        } else {
            self.doubted = Some(wanted);
        }
        &self.believed
    }

    /// What is believed.
    pub(crate) fn believed(&self) -> &EngineFacts {
        &self.believed
    }

    /// True if the engine is known by name.
    pub(crate) fn is_named(&self) -> bool {
        self.believed.name.is_some()
    }
}

/// The facts of one worker, all of it, and those of its ranks.
#[derive(Debug, Default)]
pub(crate) struct EngineBeliefs {
    all: BelievedFacts,
    ranks: Vec<BelievedFacts>,
}

impl EngineBeliefs {
    /// An engine has said who it is.
    pub(crate) fn introduce(&mut self, said: EngineFacts) {
        self.all.introduce(said);
        self.ranks.clear();
    }

    /// It has so many ranks: what one of them says of itself is not known yet, and a part of all of it until then.
    pub(crate) fn divide(&mut self, count: u32) {
        let all = self.all.believed();
        let part = |sum: Option<u32>| sum.and_then(|sum| sum.checked_div(count));
        while self.ranks.len() < count as usize {
            let mut rank = BelievedFacts::default();
            rank.introduce(EngineFacts {
                kv_capacity_tokens: part(all.kv_capacity_tokens),
                max_running_requests: part(all.max_running_requests),
                ..all.clone()
            });
            self.ranks.push(rank);
        }
        self.ranks.truncate(count as usize);
    }

    /// A report holds facts, too.
    pub(crate) fn hear(&mut self, reading: &Reading) {
        self.all.hear(&reading.facts());
        for (number, rank) in (0..).zip(&mut self.ranks) {
            rank.hear(&reading.part(Some(number)).facts());
        }
    }

    /// What is believed of a rank; of all for `None`.
    pub(crate) fn of(&self, rank: Option<u32>) -> EngineFacts {
        let of_rank = |rank: u32| self.ranks.get(rank as usize);
        rank.and_then(of_rank).unwrap_or(&self.all).believed().clone()
    }

    /// True if the engine is known by name.
    pub(crate) fn is_named(&self) -> bool {
        self.all.is_named()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(tokens: u32) -> EngineFacts {
        EngineFacts { kv_capacity_tokens: Some(tokens), ..EngineFacts::UNKNOWN }
    }

    #[test]
    fn change_counts_when_it_is_said_twice_in_a_row() {
        let mut facts = BelievedFacts::default();
        facts.introduce(EngineFacts { name: Some("vllm".into()), block_size: Some(16), ..capacity(10) });
        for flicker in [20, 30, 20, 30, 10, 20] {
            assert_eq!(facts.hear(&capacity(flicker)).kv_capacity_tokens, Some(10));
        }
        let believed = facts.hear(&capacity(20));
        assert_eq!((believed.kv_capacity_tokens, believed.block_size), (Some(20), Some(16)));
        assert!(facts.is_named());
        assert_eq!(facts.hear(&EngineFacts::UNKNOWN).kv_capacity_tokens, Some(20), "silence is no change");
    }
}
