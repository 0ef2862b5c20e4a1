//! What is asked in the runs of a comparison.

use crate::workload::generated_load::GeneratedLoad;
use crate::workload::request_traits::RequestTraits;
use crate::workload::requests::Workload;

/// The workload of each seed: the same for all of them, or one of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Workloads {
    first: Workload,
    /// By their seeds.
    others: Vec<(u64, Workload)>,
}

impl From<Workload> for Workloads {
    fn from(first: Workload) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl Workloads {
    /// One that is made up for each of these seeds, in units of so many tokens.
    pub fn generated(load: &GeneratedLoad, seeds: &[u64], unit_tokens: u32) -> Self {
        let mut all = seeds.iter().map(|seed| (*seed, load.workload(*seed, unit_tokens)));
        let first = all.next().map_or_else(|| Workload::new(unit_tokens), |(_, first)| first);
        Self { first, others: all.collect() }
    }

    /// The same with these traits of all requests.
    #[must_use]
    pub fn with_traits(self, traits: &RequestTraits) -> Self {
        let with = |workload: Workload| workload.with_traits(traits.clone());
        let others = self.others.into_iter().map(|(seed, workload)| (seed, with(workload))).collect();
        Self { first: with(self.first), others }
    }

    /// The same so many times, one after the other.
    #[must_use]
    pub fn repeated(self, times: u32) -> Self {
        if times == 1 {
            return self;
        }
        let others = self.others.iter().map(|(seed, workload)| (*seed, workload.repeated(times))).collect();
        Self { first: self.first.repeated(times), others }
    }

    /// That of this seed.
    pub fn of(&self, seed: u64) -> &Workload {
        let own = self.others.iter().find(|(other, _)| *other == seed);
        own.map_or(&self.first, |(_, workload)| workload)
    }

    /// That of the first seed.
    pub fn first(&self) -> &Workload {
        &self.first
    }
}
