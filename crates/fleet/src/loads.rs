//! What other routers have in flight.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exchange_counts::ExchangeCounts;
use crate::message_number::MessageNumber;

/// Time between two messages of a router: five a second.
pub const LOAD_INTERVAL: Duration = Duration::from_millis(200);

/// Intervals of silence after which a router is not counted any more.
const SILENT_INTERVALS: u32 = 3;

/// What one router has in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadMessage {
    /// A random name of the process: its numbers begin anew with a restart.
    pub life: u64,
    /// Grows with every message: what comes late is not taken for new.
    pub number: u64,
    /// Requests in flight, by URLs of workers. Those without any are left out.
    pub in_flight: BTreeMap<String, u32>,
}

impl LoadMessage {
    fn which(&self) -> MessageNumber {
        MessageNumber { life: self.life, number: self.number }
    }
}

/// What each other router said last.
#[derive(Debug, Default)]
pub struct LoadsElsewhere {
    routers: BTreeMap<String, LastLoad>,
}

#[derive(Debug)]
struct LastLoad {
    message: LoadMessage,
    heard: Duration,
}

impl LoadsElsewhere {
    /// Takes what a router says; what came late is ignored. `now` is the time since some moment of this
    /// process, as everywhere here.
    pub fn hear(&mut self, router: &str, message: LoadMessage, now: Duration, counts: &ExchangeCounts) {
        let last = self.routers.get(router).map(|last| last.message.which());
        if message.which().count_after(last, counts) {
            self.routers.insert(router.to_owned(), LastLoad { message, heard: now });
        }
    }

    /// Requests in flight to each worker from the others together; `None` if none of them is heard. Forgets
    /// those that are silent.
    pub fn sums(&mut self, now: Duration) -> Option<HashMap<&str, u32>> {
        let patience = LOAD_INTERVAL * SILENT_INTERVALS;
        self.routers.retain(|_, last| now.saturating_sub(last.heard) <= patience);
        if self.routers.is_empty() {
            return None;
        }
        let mut sums: HashMap<&str, u32> = HashMap::new();
        for (url, count) in self.routers.values().flat_map(|last| &last.message.in_flight) {
            let sum = sums.entry(url).or_default();
            *sum = sum.saturating_add(*count);
        }
        Some(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(life: u64, number: u64, in_flight: &[(&str, u32)]) -> LoadMessage {
        let in_flight = in_flight.iter().map(|(url, count)| ((*url).to_owned(), *count)).collect();
        LoadMessage { life, number, in_flight }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn loads_are_summed_until_a_router_is_silent_for_three_intervals() {
        let (mut loads, counts) = (LoadsElsewhere::default(), ExchangeCounts::default());
        assert!(loads.sums(ms(0)).is_none(), "nobody is heard");
        loads.hear("a", message(1, 1, &[("w1", 2), ("w2", 1)]), ms(0), &counts);
        loads.hear("b", message(1, 1, &[("w1", 3)]), ms(100), &counts);
        let sums = loads.sums(ms(600)).unwrap();
        assert_eq!((sums.get("w1"), sums.get("w2"), sums.get("w3")), (Some(&5), Some(&1), None));
        assert_eq!(loads.sums(ms(601)).unwrap().get("w1"), Some(&3), "a is silent");
        assert!(loads.sums(ms(701)).is_none());
    }

    #[test]
    fn what_comes_late_is_ignored_and_a_restart_begins_anew() {
        let (mut loads, counts) = (LoadsElsewhere::default(), ExchangeCounts::default());
        let mut load = |life, number, count| {
            loads.hear("a", message(life, number, &[("w", count)]), ms(0), &counts);
            loads.sums(ms(1)).unwrap().get("w").copied()
        };
        assert_eq!(load(1, 5, 7), Some(7));
        assert_eq!(load(1, 4, 1), Some(7));
        assert_eq!(load(1, 5, 1), Some(7));
        assert_eq!(load(1, 6, 1), Some(1));
        assert_eq!(load(2, 1, 3), Some(3));
    }
}
