//! The numbers of a rank's batches: what was missed, what came twice, and when they began anew.

use sglang_router_rs::types::hash_of;

/// What a batch of some number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SequencePlace {
    /// The next one.
    Next,
    /// It was there before.
    Repeated,
    /// So many are missing before it.
    Gap(u64),
    /// The numbers began anew: its sender is another one.
    Anew,
}

/// How far a rank's batches were taken. Lasts over connections.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// The number and a digest of the last batch that was taken; `None` before the first.
    last: Option<(u64, u64)>,
    /// The last number of this connection.
    seen: Option<u64>,
    /// What comes below this was replayed since the connection began.
    replayed: u64,
}

impl Sequence {
    /// A connection begins.
    pub(crate) fn connected(&mut self) {
        self.seen = None;
        self.replayed = 0;
    }

    /// The number of the last batch that was taken.
    pub(crate) fn last(&self) -> Option<u64> {
        self.last.map(|(number, _)| number)
    }

    /// True if this is the last batch that was taken: then its sender is the same as before.
    pub(crate) fn is_last(&self, number: u64, payload: &[u8]) -> bool {
        self.last == Some((number, hash_of(payload)))
    }

    /// What a batch is that came as it was published.
    pub(crate) fn live(&mut self, number: u64) -> SequencePlace {
        let is_later = self.seen.is_none_or(|seen| number > seen);
        if self.seen == Some(number) {
            return SequencePlace::Repeated;
        }
        self.seen = Some(number);
        match self.last() {
            _ if !is_later => SequencePlace::Anew,
            None => SequencePlace::Next,
            Some(last) if number > last => match number - last {
                1 => SequencePlace::Next,
                gap => SequencePlace::Gap(gap - 1),
            },
            Some(_) if number < self.replayed => SequencePlace::Repeated,
            Some(_) => SequencePlace::Anew,
        }
    }

    /// A batch was taken.
    pub(crate) fn taken(&mut self, number: u64, payload: &[u8], is_replayed: bool) {
        self.last = Some((number, hash_of(payload)));
        if is_replayed {
            self.replayed = self.replayed.max(number.saturating_add(1));
        }
    }

    /// All that was taken is forgotten.
    pub(crate) fn forget(&mut self) {
        self.last = None;
        self.replayed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(sequence: &mut Sequence, number: u64) -> SequencePlace {
        let place = sequence.live(number);
        if place == SequencePlace::Next {
            sequence.taken(number, b"x", false);
        }
        place
    }

    #[test]
    fn batches_are_next_missing_repeated_or_of_another_sender() {
        let mut sequence = Sequence::default();
        sequence.connected();
        let places = [
            (5, SequencePlace::Next),
            (6, SequencePlace::Next),
            (6, SequencePlace::Repeated),
            (9, SequencePlace::Gap(2)),
        ];
        assert!(places.into_iter().all(|(number, place)| take(&mut sequence, number) == place));
        for number in 7..12 {
            sequence.taken(number, b"r", true);
        }
        assert!(sequence.is_last(11, b"r") && !sequence.is_last(11, b"x") && !sequence.is_last(10, b"r"));
        // What was replayed comes as published, too.
        assert_eq!(
            (take(&mut sequence, 10), take(&mut sequence, 11), take(&mut sequence, 12)),
            (SequencePlace::Repeated, SequencePlace::Repeated, SequencePlace::Next)
        );
        assert_eq!(take(&mut sequence, 11), SequencePlace::Anew, "numbers do not go back");
        sequence.forget();
        assert_eq!((sequence.last(), take(&mut sequence, 12)), (None, SequencePlace::Next));
        sequence.connected();
        assert_eq!(take(&mut sequence, 3), SequencePlace::Anew, "nothing was replayed since");
        assert_eq!(take(&mut sequence, u64::MAX), SequencePlace::Gap(u64::MAX - 13));
    }
}
