//! Which workers requests were sent to, over time.

use serde::Serialize;

/// Steps of time at most; with more, two become one.
const MOST_STEPS: usize = 120;

/// How many requests each worker was sent in each step of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SentTimeline {
    /// Seconds of a step.
    pub step: f64,
    /// For each step, the requests that each worker was sent.
    pub sent: Vec<Vec<u32>>,
    #[serde(skip)]
    workers: usize,
}

impl SentTimeline {
    /// Nothing was sent to any of so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { step: 1.0, sent: Vec::new(), workers }
    }

    /// A request is sent to a worker at this second of the run.
    pub(crate) fn add(&mut self, worker: u32, at: f64) {
        while at >= self.step * MOST_STEPS as f64 {
            self.widen();
        }
        let step = whole(at / self.step);
        while self.sent.len() <= step {
            self.sent.push(vec![0; self.workers]);
        }
        if let Some(count) = self.sent.get_mut(step).and_then(|step| step.get_mut(worker as usize)) {
            *count += 1;
        }
    }

    fn widen(&mut self) {
        self.step *= 2.0;
        let pairs = self.sent.chunks(2).map(|pair| {
            let mut sum = vec![0; self.workers];
            for counts in pair {
                sum.iter_mut().zip(counts).for_each(|(total, count)| *total += *count);
            }
            sum
        });
        self.sent = pairs.collect();
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_become_wider_and_no_request_is_lost() {
        let mut timeline = SentTimeline::new(2);
        for second in 0..300_u32 {
            timeline.add(second % 2, f64::from(second));
        }
        timeline.add(0, 299.5);
        assert_eq!((timeline.step, timeline.sent.len()), (4.0, 75));
        assert_eq!((&timeline.sent[0], &timeline.sent[74]), (&vec![2, 2], &vec![3, 2]));
        assert_eq!(timeline.sent.iter().flatten().sum::<u32>(), 301);
    }
}
