//! Requests that are reported apart from others, and what came of them.

use serde::Serialize;

use crate::report::quantile_set::QuantileSet;
use crate::workload::Workload;

/// Groups at most: one for each bit of a request.
const MOST_GROUPS: usize = 64;

/// What came of the requests of a group. Times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupRun {
    /// What they have in common: `priority: high`, `prompts from 8192 tokens`.
    pub group: String,
    /// How many there are.
    pub requests: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// From the arrival at the router to the first token.
    pub ttft: Option<QuantileSet>,
    /// From the arrival at the router to the last token.
    pub e2e: Option<QuantileSet>,
    /// Share of all whose first token came in time.
    pub ttft_ok: f64,
    /// Share of all that met the whole objective.
    pub goodput: f64,
}

/// Which requests are of which groups, and what came of them so far.
#[derive(Debug, Default)]
pub(crate) struct RequestGroups {
    /// A bit for each group that a request is of.
    of: Vec<u64>,
    tallies: Vec<GroupTally>,
}

#[derive(Debug, Default)]
struct GroupTally {
    name: String,
    requests: u64,
    ttft: Vec<f32>,
    e2e: Vec<f32>,
    ttft_ok: u64,
    good: u64,
}

/// What came of a request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredRequest {
    pub(crate) ttft: f32,
    pub(crate) e2e: f32,
    pub(crate) in_time: bool,
    pub(crate) is_good: bool,
}

impl RequestGroups {
    /// Those of a workload whose headers are drawn with this seed.
    pub(crate) fn new(workload: &Workload, seed: u64) -> Self {
        let traits = workload.traits();
        let mut groups = Self::default();
        if traits.headers.is_empty() && traits.long_from.is_none() {
            return groups;
        }
        groups.of = vec![0; workload.requests().len()];
        for mix in &traits.headers {
            let drawn = |number| workload.header_value(mix, seed, number);
            for (place, (value, _)) in mix.values.iter().enumerate() {
                groups.add(format!("{}: {value}", mix.name), |number| drawn(number) == Some(place));
            }
            if mix.leaves_some() {
                groups.add(format!("no {}", mix.name), |number| drawn(number).is_none());
            }
        }
        if let Some(from) = traits.long_from {
            let tokens = |number| workload.request(number).map_or(0, |asked| asked.prompt_tokens);
            groups.add(format!("prompts below {from} tokens"), |number| tokens(number) < from);
            groups.add(format!("prompts from {from} tokens"), |number| tokens(number) >= from);
        }
        groups
    }

    fn add(&mut self, name: String, is_of: impl Fn(u32) -> bool) {
        if self.tallies.len() == MOST_GROUPS {
            return;
        }
        let bit = 1_u64 << self.tallies.len();
        let mut requests = 0;
        for (mask, number) in self.of.iter_mut().zip(0..) {
            if is_of(number) {
                *mask |= bit;
                requests += 1;
            }
        }
        self.tallies.push(GroupTally { name, requests, ..GroupTally::default() });
    }

    /// A request was answered.
    pub(crate) fn finish(&mut self, request: u32, answered: AnsweredRequest) {
        let Some(mask) = self.of.get(request as usize) else { return };
        let of = self.tallies.iter_mut().enumerate().filter(|(group, _)| mask >> group & 1 == 1);
        for (_, tally) in of {
            tally.ttft.push(answered.ttft);
            tally.e2e.push(answered.e2e);
            tally.ttft_ok += u64::from(answered.in_time);
            tally.good += u64::from(answered.is_good);
        }
    }

    /// What came of each.
    pub(crate) fn report(self) -> Vec<GroupRun> {
        self.tallies.into_iter().map(GroupTally::report).collect()
    }
}

impl GroupTally {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn report(mut self) -> GroupRun {
        let share = |count: u64| if self.requests == 0 { 0.0 } else { count as f64 / self.requests as f64 };
        GroupRun {
            requests: self.requests,
            answered: self.ttft.len() as u64,
            ttft_ok: share(self.ttft_ok),
            goodput: share(self.good),
            ttft: QuantileSet::of(&mut self.ttft),
            e2e: QuantileSet::of(&mut self.e2e),
            group: self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{HeaderMix, RequestTraits};

    #[test]
    fn request_counts_in_each_group_that_it_is_of() {
        let mut workload = Workload::new(512);
        [100, 9000, 8192].into_iter().for_each(|tokens| workload.push(0.0, tokens, 1, &[]));
        let headers = vec![HeaderMix::parse("x-team=a:1").unwrap(), HeaderMix::parse("y=b:0").unwrap()];
        let workload = workload.with_traits(RequestTraits {
            headers,
            long_from: Some(8192),
            ..RequestTraits::default()
        });
        let mut groups = RequestGroups::new(&workload, 1);
        let answered = |ttft, in_time| AnsweredRequest { ttft, e2e: 9.0, in_time, is_good: false };
        groups.finish(0, answered(1.0, true));
        groups.finish(2, answered(4.0, false));
        let found: Vec<_> = groups
            .report()
            .into_iter()
            .map(|run| (run.group, run.requests, run.answered, run.ttft.map(|times| times.max), run.ttft_ok))
            .collect();
        let row = |name: &str, requests, answered, max, ok| (name.to_owned(), requests, answered, max, ok);
        assert_eq!(
            found,
            [
                row("x-team: a", 3, 2, Some(4.0), 1.0 / 3.0),
                row("y: b", 0, 0, None, 0.0),
                row("no y", 3, 2, Some(4.0), 1.0 / 3.0),
                row("prompts below 8192 tokens", 1, 1, Some(1.0), 1.0),
                row("prompts from 8192 tokens", 2, 1, Some(4.0), 0.0),
            ]
        );
        assert!(RequestGroups::new(&Workload::new(1), 1).report().is_empty());
    }
}
