//! How a request's waiting ends.

/// How a request's waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitEnd {
    /// It went on.
    WentOn,
    /// It waited for too long.
    TimedOut,
    /// It did not wait: too many did, or too large ones.
    Refused,
    /// Its client hung up.
    ClientGone,
    /// The router stopped.
    Stopped,
    /// Another answer was found for it.
    Failed,
    /// The policy refuses it.
    Shed,
}

impl WaitEnd {
    /// All of them with their names in metrics, in the order of their numbers.
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::WentOn, "went_on"),
        (Self::TimedOut, "timed_out"),
        (Self::Refused, "refused"),
        (Self::ClientGone, "client_gone"),
        (Self::Stopped, "stopped"),
        (Self::Failed, "failed"),
        (Self::Shed, "shed"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_stand_at_their_numbers() {
        for (position, (end, _)) in WaitEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, position);
        }
    }
}
