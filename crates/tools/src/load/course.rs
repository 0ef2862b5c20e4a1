//! How a target did over time, ready to be drawn: the rounds one after the other.

use crate::load::numbers::number;
use crate::load::round_summary::{RoundSummary, SwapSummary};
use crate::page::Mark;

/// Points of a line at most: bins are joined until there are no more.
const MOST_POINTS: usize = 400;

/// Lines over seconds from the beginning of the first round.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Answers per second.
    pub(crate) answered: Vec<(f64, f64)>,
    /// Failed requests per second.
    pub(crate) failed: Vec<(f64, f64)>,
    /// The longest latency, in milliseconds; no points where nothing was answered.
    pub(crate) longest: Vec<(f64, f64)>,
    /// Swaps, and the beginnings of rounds.
    pub(crate) marks: Vec<Mark>,
    /// Swaps among the marks.
    pub(crate) swaps: usize,
    /// The length of all rounds.
    pub(crate) seconds: f64,
}

impl Course {
    pub(crate) fn new(rounds: &[RoundSummary]) -> Self {
        let bins: usize = rounds.iter().map(|round| round.timeline.ok.len()).sum();
        let joined = bins.div_ceil(MOST_POINTS).max(1);
        let mut course = Self::default();
        rounds.iter().for_each(|round| course.push(round, joined));
        course
    }

    fn push(&mut self, round: &RoundSummary, joined: usize) {
        let begin = self.seconds;
        if begin > 0.0 {
            self.marks.push(Mark { x: begin, class: "round", title: format!("round {}", round.round) });
        }
        let line = &round.timeline;
        let counts = line.ok.chunks(joined).zip(line.failed.chunks(joined));
        for (point, ((ok, failed), max)) in counts.zip(line.max_ms.chunks(joined)).enumerate() {
            let from = (point * joined) as f64 * line.bin_seconds;
            let whole = ok.len() as f64 * line.bin_seconds;
            // What the round measured ends within its last bin; after it come only answers that were
            // waited for, which count into no throughput.
            let width = whole.min(round.measured_seconds - from);
            let middle = begin + from + whole / 2.0;
            if width > 0.0 {
                let rate = |counts: &[u32]| counts.iter().map(|count| f64::from(*count)).sum::<f64>() / width;
                self.answered.push((begin + from + width / 2.0, rate(ok)));
                self.failed.push((begin + from + width / 2.0, rate(failed)));
            }
            // A time without answers has no longest one; a line down to 0 would say that it was fast.
            let longest = max.iter().copied().fold(0.0, f64::max);
            self.longest.extend((longest > 0.0).then_some((middle, longest)));
        }
        self.marks.extend(round.swaps.iter().map(|swap| mark(swap, begin)));
        self.swaps += round.swaps.len();
        self.seconds += line.ok.len() as f64 * line.bin_seconds;
    }
}

fn mark(swap: &SwapSummary, begin: f64) -> Mark {
    let (class, what) = match (&swap.error, swap.generation) {
        (Some(error), _) => ("refused", error.clone()),
        (None, Some(generation)) => ("swap", format!("generation {generation}")),
        (None, None) => ("swap", String::new()),
    };
    let title = format!("{}: {what}, {} ms", swap.module, number(swap.took_ms));
    Mark { x: begin + swap.at_seconds, class, title }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::figures::Figures;
    use crate::load::round_summary::Timeline;

    fn round(number: u32, bins: usize) -> RoundSummary {
        let swap = |error: Option<&str>| SwapSummary {
            at_seconds: 0.5,
            took_ms: 20.0,
            module: "a.wasm".to_owned(),
            generation: error.is_none().then_some(7),
            error: error.map(str::to_owned),
        };
        RoundSummary {
            round: number,
            ok: 0,
            errors: BTreeMap::new(),
            warmup_requests: 0,
            interrupted_requests: 0,
            tokens: 0,
            measured_seconds: bins as f64 * 0.1,
            figures: Figures::default(),
            timeline: Timeline {
                bin_seconds: 0.1,
                ok: vec![3; bins],
                failed: vec![1; bins],
                max_ms: vec![5.0; bins],
            },
            swaps: vec![swap(None), swap(Some("no"))],
        }
    }

    #[test]
    fn rounds_follow_each_other_with_their_swaps() {
        let course = Course::new(&[round(1, 10), round(2, 10)]);
        assert_eq!((course.answered.len(), course.swaps), (20, 4));
        assert!((course.answered[0].1 - 30.0).abs() < 1e-9 && (course.seconds - 2.0).abs() < 1e-9);
        let marks: Vec<(&str, f64)> =
            course.marks.iter().map(|mark| (mark.class, (mark.x * 10.0).round())).collect();
        let expected = [("swap", 5.0), ("refused", 5.0), ("round", 10.0), ("swap", 15.0), ("refused", 15.0)];
        assert_eq!(marks, expected);
        assert_eq!(course.marks[0].title, "a.wasm: generation 7, 20.0 ms");
    }

    #[test]
    fn last_bin_counts_only_the_part_of_it_that_was_measured() {
        let mut short = round(1, 10);
        short.measured_seconds = 0.95;
        let course = Course::new(&[short]);
        assert!((course.answered[8].1 - 30.0).abs() < 1e-9);
        assert!((course.answered[9].1 - 60.0).abs() < 1e-6, "3 answers in half a bin");
        let mut late = round(1, 10);
        late.measured_seconds = 0.9;
        let course = Course::new(&[late]);
        assert_eq!((course.answered.len(), course.longest.len()), (9, 10), "the last bin is after the end");
    }

    #[test]
    fn time_without_answers_has_no_longest_one() {
        let mut quiet = round(1, 3);
        quiet.timeline.max_ms[1] = 0.0;
        let course = Course::new(&[quiet]);
        assert_eq!((course.answered.len(), course.longest.len()), (3, 2));
    }

    #[test]
    fn long_run_is_joined_to_what_a_plot_can_show() {
        let course = Course::new(&[round(1, 36_001)]);
        assert!((200..=400).contains(&course.answered.len()));
        assert!(course.answered.iter().all(|point| (point.1 - 30.0).abs() < 1e-6));
    }
}
