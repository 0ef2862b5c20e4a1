//! Numbers of messages on plain subjects: what is late, and what did not come.

use crate::exchange_counts::{ExchangeCounts, MessageOutcome};

/// Which message of a router it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageNumber {
    /// A random name of the process: its numbers begin anew with a restart.
    pub life: u64,
    /// Grows by one with each message that is sent.
    pub number: u64,
}

impl MessageNumber {
    /// Counts a message with this number after the one that was heard last of its router, if any is known.
    /// False if it is late: it is to be left out.
    pub(crate) fn count_after(self, last: Option<Self>, counts: &ExchangeCounts) -> bool {
        counts.add(MessageOutcome::Received, 1);
        let Some(last) = last.filter(|last| last.life == self.life) else { return true };
        if self.number <= last.number {
            counts.add(MessageOutcome::Late, 1);
            return false;
        }
        counts.add(MessageOutcome::Missed, self.number - last.number - 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_missed_and_what_goes_back_is_late_unless_the_router_began_anew() {
        let counts = ExchangeCounts::default();
        let number = |life, number| MessageNumber { life, number };
        assert!(number(1, 5).count_after(None, &counts));
        assert!(number(1, 6).count_after(Some(number(1, 5)), &counts));
        assert!(number(1, 9).count_after(Some(number(1, 6)), &counts));
        assert!(!number(1, 8).count_after(Some(number(1, 9)), &counts));
        assert!(!number(1, 9).count_after(Some(number(1, 9)), &counts));
        assert!(number(2, 1).count_after(Some(number(1, 9)), &counts));
        let of = |outcome| counts.total(outcome);
        assert_eq!(
            (of(MessageOutcome::Received), of(MessageOutcome::Missed), of(MessageOutcome::Late)),
            (6, 2, 2)
        );
    }
}
