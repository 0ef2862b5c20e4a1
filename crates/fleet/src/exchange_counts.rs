//! What became of messages on plain subjects, which nobody acknowledges.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It was given to NATS.
    Sent,
    /// It was not: NATS was away, or there was too much to say.
    Unsent,
    /// Another router's came.
    Received,
    /// Another router's did not come, as the number of its next one tells.
    Missed,
    /// Another router's came after a later one, and was left out.
    Late,
    /// It could not be understood, or was too large, and was left out.
    Malformed,
    /// Another router's says something that means another thing here, and was left out.
    Foreign,
}

impl MessageOutcome {
    /// All of them, as they are numbered.
    pub const ALL: [Self; 7] =
        [Self::Sent, Self::Unsent, Self::Received, Self::Missed, Self::Late, Self::Malformed, Self::Foreign];

    /// As labels of metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unsent => "unsent",
            Self::Received => "received",
            Self::Missed => "missed",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
        }
    }
}

/// How often each became of messages of one kind.
#[derive(Debug, Default)]
pub struct ExchangeCounts([AtomicU64; MessageOutcome::ALL.len()]);

impl ExchangeCounts {
    /// So many more.
    pub fn add(&self, outcome: MessageOutcome, count: u64) {
        if let Some(counter) = self.0.get(outcome as usize) {
            // Relaxed: only the sum matters, here and below.
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// How many there were.
    pub fn total(&self, outcome: MessageOutcome) -> u64 {
        self.0.get(outcome as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_by_itself() {
        let counts = ExchangeCounts::default();
        for (count, outcome) in (1..).zip(MessageOutcome::ALL) {
            counts.add(outcome, count);
        }
        assert_eq!(MessageOutcome::ALL.map(|outcome| counts.total(outcome)), [1, 2, 3, 4, 5, 6, 7]);
    }
}
