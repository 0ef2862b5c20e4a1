//! What an answer says of the worker that gave it.

/// What came of a request at a worker. Every one that was sent ends as one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// It was served: a status below 400, and a whole answer.
    Served,
    /// It was refused for its own sake: 400 to 499 but for 429, 501 and 505. Says nothing against
    /// the worker, since a client that asks for what a worker does not have must not take it out; and
    /// nothing for it either.
    Refused,
    /// The worker has no room now: 429 or 503. It is passed over for a moment, and is not ill.
    Full,
    /// The worker did not do its part: no connection, no whole answer, another status of 500 and
    /// above, or an event in its stream that tells of one.
    Failed,
    /// The client, or the other half of a pair, did not wait for the end.
    Abandoned,
}

impl Verdict {
    /// All of them with their names in metrics, in the order of their numbers.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Served, "success"),
        (Self::Refused, "refused"),
        (Self::Full, "full"),
        (Self::Failed, "failure"),
        (Self::Abandoned, "abandoned"),
    ];

    /// By the status of a whole answer, or the code of an event that tells of an error.
    #[inline]
    pub fn of(status: u16) -> Self {
        match status {
            ..=399 => Self::Served,
            429 | 503 => Self::Full,
            ..=499 | 501 | 505 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_stand_at_their_numbers() {
        for (position, (verdict, _)) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, position);
        }
    }

    #[test]
    fn status_says_whether_a_worker_is_well_full_or_ill() {
        for (status, verdict) in [
            (200, Verdict::Served),
            (302, Verdict::Served),
            (400, Verdict::Refused),
            (404, Verdict::Refused),
            (429, Verdict::Full),
            (500, Verdict::Failed),
            (501, Verdict::Refused),
            (502, Verdict::Failed),
            (503, Verdict::Full),
            (504, Verdict::Failed),
            (505, Verdict::Refused),
            (599, Verdict::Failed),
        ] {
            assert_eq!(Verdict::of(status), verdict, "{status}");
        }
    }
}
