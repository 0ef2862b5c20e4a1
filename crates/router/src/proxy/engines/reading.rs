//! What an engine said of its load, rank by rank, and what that is for the worker as a whole.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use sglang_router_rs::core::{EngineFacts, WorkerReport};

/// The most ranks, or slots, that are read of one answer.
pub(crate) const MAX_RANKS: usize = 1024;

/// What one data-parallel rank says; an engine without ranks is rank 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RankLoad {
    /// Its number.
    pub(crate) rank: u32,
    /// Requests in its batch.
    pub(crate) running: Option<u32>,
    /// Requests in its queue.
    pub(crate) waiting: Option<u32>,
    /// Prompt tokens that wait and are not cached.
    pub(crate) queued_tokens: Option<u32>,
    /// Share of its KV cache in use.
    pub(crate) kv_usage: Option<f32>,
    /// Generated tokens per second.
    pub(crate) throughput: Option<f32>,
    /// Tokens generated since it began: where there is no rate, two of them make one.
    pub(crate) generated: Option<f64>,
    /// Tokens that its KV cache can hold.
    pub(crate) kv_capacity_tokens: Option<u32>,
    /// Tokens of a block.
    pub(crate) block_size: Option<u32>,
    /// Requests that it runs at most.
    pub(crate) max_running_requests: Option<u32>,
}

impl RankLoad {
    /// The number of one that says of itself what cannot be: it counts for its worker, and is no rank.
    pub(crate) const NOBODYS: u32 = u32::MAX;
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// By rank, as the engine lists them.
    pub(crate) ranks: Vec<RankLoad>,
    /// True if it held something that cannot be.
    pub(crate) nonsense: bool,
}

impl Reading {
    /// What it says of one rank; of all of the engine for `None`. An answer about one rank only is none about
    /// any of several.
    pub(crate) fn part(&self, rank: Option<u32>) -> Self {
        let Some(rank) = rank else { return self.clone() };
        let is_meant = |load: &&RankLoad| load.rank == rank && self.ranks.len() > 1;
        Self { ranks: self.ranks.iter().filter(is_meant).cloned().collect(), nonsense: self.nonsense }
    }

    /// Of all ranks together: counts are added up, shares averaged.
    pub(crate) fn report(&self) -> WorkerReport {
        let count = |of: fn(&RankLoad) -> Option<u32>| {
            self.sum(of).and_then(|sum| i32::try_from(sum).ok()).unwrap_or(-1)
        };
        WorkerReport {
            running: count(|rank| rank.running),
            waiting: count(|rank| rank.waiting),
            queued_tokens: count(|rank| rank.queued_tokens),
            kv_usage: self.mean(|rank| rank.kv_usage),
            throughput: self
                .ranks
                .iter()
                .filter_map(|rank| rank.throughput)
                .reduce(|a, b| a + b)
                .unwrap_or(f32::NAN),
            ..WorkerReport::UNKNOWN
        }
    }

    /// What it says of the engine that does not change from answer to answer.
    pub(crate) fn facts(&self) -> EngineFacts {
        let sum = |of: fn(&RankLoad) -> Option<u32>| self.sum(of).and_then(|sum| u32::try_from(sum).ok());
        EngineFacts {
            name: None,
            kv_capacity_tokens: sum(|rank: &RankLoad| rank.kv_capacity_tokens),
            block_size: self.ranks.iter().find_map(|rank| rank.block_size),
            max_running_requests: sum(|rank: &RankLoad| rank.max_running_requests),
            dp_rank: None,
            models: None,
        }
    }

    /// The rank of this number, made if it is not there; `None` if there would be too many.
    pub(crate) fn rank(&mut self, number: u32) -> Option<&mut RankLoad> {
        let position = self.ranks.iter().position(|rank| rank.rank == number);
        let position = position.or_else(|| {
            let is_free = self.ranks.len() < MAX_RANKS;
            is_free.then(|| {
                self.ranks.push(RankLoad { rank: number, ..RankLoad::default() });
                self.ranks.len() - 1
            })
        });
        self.ranks.get_mut(position?)
    }

    fn sum(&self, of: impl Fn(&RankLoad) -> Option<u32>) -> Option<u64> {
        self.ranks.iter().filter_map(of).map(u64::from).reduce(|a, b| a + b)
    }

    fn mean(&self, of: impl Fn(&RankLoad) -> Option<f32>) -> f32 {
        let (sum, count) = self
            .ranks
            .iter()
            .filter_map(of)
            .fold((0.0, 0_u16), |(sum, count), share| (sum + share, count + 1));
        if count == 0 { f32::NAN } else { sum / f32::from(count) }
    }
}

/// A list that is refused if it is longer than [`MAX_RANKS`]: what it would take of memory is known
/// beforehand.
#[derive(Debug)]
pub(crate) struct Bounded<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
    type Value = Bounded<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of up to {MAX_RANKS}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bounded<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = seq.next_element()? {
            if list.len() == MAX_RANKS {
                return Err(Error::invalid_length(MAX_RANKS + 1, &self));
            }
            list.push(entry);
        }
        Ok(Bounded(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_added_up_and_what_is_beyond_a_column_is_unknown() {
        let rank = |number, running, usage| RankLoad {
            rank: number,
            running: Some(running),
            kv_usage: Some(usage),
            kv_capacity_tokens: Some(u32::MAX),
            ..RankLoad::default()
        };
        let mut reading = Reading { ranks: vec![rank(0, 3, 0.5), rank(1, 1, 0.75)], nonsense: false };
        let report = reading.report();
        assert_eq!((report.running, report.waiting), (4, -1));
        assert!((report.kv_usage - 0.625).abs() < 1e-6 && report.throughput.is_nan());
        assert_eq!(reading.facts().kv_capacity_tokens, None);
        reading.ranks.push(rank(2, 2_147_483_647, 0.0));
        assert_eq!(reading.report().running, -1);
        let known = |rank| reading.part(rank).report().running;
        assert_eq!([known(Some(0)), known(Some(1)), known(Some(3))], [3, 1, -1]);
        let one = Reading { ranks: vec![rank(0, 3, 0.5)], nonsense: false };
        assert_eq!([one.part(Some(0)).report().running, one.part(None).report().running], [-1, 3]);
        assert_eq!(Reading::default().report().known(), WorkerReport::UNKNOWN.known());
    }

    #[test]
    fn list_of_too_many_is_refused() {
        let list = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert_eq!(serde_json::from_str::<Bounded<u8>>(&list(MAX_RANKS)).unwrap().0.len(), MAX_RANKS);
        assert!(serde_json::from_str::<Bounded<u8>>(&list(MAX_RANKS + 1)).is_err());
    }
}
