//! What the next generation of a plugin gets: clocks and paces, by the URLs of workers.

use alloc::vec::Vec;

use crate::clock::WorkerClock;
use crate::clocks::Clocks;
use crate::pace::WorkPace;

/// First word of what is saved. What another version saved is left.
const VERSION: u64 = 1;
/// Words of the fleet, and of each worker: its URL's hash and six numbers.
const FLEET_WORDS: usize = 3;
const WORKER_WORDS: usize = 7;

impl Clocks {
    /// Appends all that was learnt.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut word = |word: u64| out.extend(word.to_le_bytes());
        word(VERSION);
        [self.fleet.work, self.fleet.time].into_iter().for_each(|number| word(number.to_bits()));
        for (url, clock) in self.workers.iter() {
            word(url);
            let WorkerClock { done_at, sent, known, last_first, pace, .. } = *clock;
            let numbers = [done_at, sent, known, last_first, pace.work, pace.time];
            numbers.into_iter().for_each(|number| word(number.to_bits()));
        }
    }

    /// Takes over what was saved. Nothing of it if it is damaged or another version's.
    pub fn restore(&mut self, saved: &[u8]) {
        let (words, rest) = saved.as_chunks();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let Some((&[version, work, time], workers)) = words.split_first_chunk::<FLEET_WORDS>() else {
            return;
        };
        let (workers, odd) = workers.as_chunks::<WORKER_WORDS>();
        if version != VERSION || !rest.is_empty() || !odd.is_empty() {
            return;
        }
        let numbers = |words: &[u64; WORKER_WORDS]| words.map(f64::from_bits);
        let fleet = WorkPace { work: f64::from_bits(work), time: f64::from_bits(time) };
        let all = workers.iter().flat_map(|worker| numbers(worker).into_iter().skip(1));
        if ![fleet.work, fleet.time].into_iter().chain(all).all(f64::is_finite) {
            return;
        }
        self.fleet = fleet;
        for worker in workers {
            let [_, done_at, sent, known, last_first, work, time] = numbers(worker);
            let pace = WorkPace { work, time };
            let clock = WorkerClock { done_at, sent, known, last_first, pace, ..WorkerClock::default() };
            let [url, ..] = *worker;
            self.workers.restore(url, clock);
        }
    }
}
