//! Where a retry is decided: what is a reason to try a request again, how often, and what only once.
//!
//! | what came of an attempt | its name in `retry.on` | its reason in metrics | |
//! |---|---|---|---|
//! | no connection, or nothing was sent over it | `connect` | `connect` | |
//! | the connection broke before an answer | `broken` | `broken` | once |
//! | no byte in time, or from a dead worker | `silent` | `silent` | once |
//! | 429, 503 | `429`, `503` | `full` | |
//! | 500, of them those of an engine that is dying | `500`, `500-engine-dead` | `error` | once |
//! | 502 | `502` | `status` | once |
//! | 504 | `504` | `error` | once |
//!
//! The loop that asks is in [`crate::proxy::answering`]; which workers are left for it,
//! `crate::proxy::tried` knows. [`Endpoint::call`](crate::proxy::endpoint::Endpoint::call) asks whether
//! the same worker gets a request again over another connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;

use crate::config::retry_on::{RetryCondition, RetryOn};
use crate::proxy::client_deadlines::GaveUp;
use crate::proxy::verdict::Verdict;
use sgl_upstream::UpstreamError;

/// A client that sends this, with anything but 0 or false, has a request that must not be worked on
/// twice.
pub(crate) const NO_RETRY_HEADER: &str = "x-sgl-no-retry";

/// If both halves of a pair break within this time, the request counts as one that breaks both. A half
/// that lives on waits this long for nothing.
const BREAKS_TOO: Duration = Duration::from_millis(100);

/// What the other half of one that is full comes to within this time still counts: what both do at once
/// may be heard of in either order. Much less than a prompt takes as a rule, since a half that is called
/// off before it ends has not run, and the request waits for as long.
const ENDS_TOO: Duration = Duration::from_millis(10);

/// True if an answer with this status can be a reason for a retry, whatever is configured: it is worth
/// reading on, since what it says may decide.
pub(crate) fn is_reason(status: u16) -> bool {
    condition_of(status).is_some()
}

fn condition_of(status: u16) -> Option<RetryCondition> {
    Some(match status {
        429 => RetryCondition::TooManyRequests,
        500 => RetryCondition::InternalError,
        502 => RetryCondition::BadGateway,
        503 => RetryCondition::Unavailable,
        504 => RetryCondition::GatewayTimeout,
        _ => return None,
    })
}

/// Why a request was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetryReason {
    /// No connection to the worker.
    Connect,
    /// The connection broke before an answer.
    Broken,
    /// The worker answered with 502.
    Status,
    /// The worker is full: it answered with 429 or 503.
    Full,
    /// The worker answered with 500 or 504.
    Error,
    /// The worker gave no byte of an answer.
    Silent,
}

impl RetryReason {
    /// All of them with their names in metrics, in the order of their numbers.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Connect, "connect"),
        (Self::Broken, "broken"),
        (Self::Status, "status"),
        (Self::Full, "full"),
        (Self::Error, "error"),
        (Self::Silent, "silent"),
    ];

    /// The reason that counts where this condition is met.
    pub fn of(condition: RetryCondition) -> Self {
        match condition {
            RetryCondition::Connect => Self::Connect,
            RetryCondition::Broken => Self::Broken,
            RetryCondition::Silent => Self::Silent,
            RetryCondition::TooManyRequests | RetryCondition::Unavailable => Self::Full,
            RetryCondition::InternalError | RetryCondition::EngineDead | RetryCondition::GatewayTimeout => {
                Self::Error
            }
            RetryCondition::BadGateway => Self::Status,
        }
    }

    /// True if the worker may have worked on the request, so that the retry is its [`SecondRun`]: a
    /// request that makes workers crash must not go round all of them. A 502 counts as that, since it
    /// is what a proxy in front of an engine makes of a crash.
    fn may_have_run(self) -> bool {
        match self {
            Self::Connect | Self::Full => false,
            Self::Broken | Self::Status | Self::Error | Self::Silent => true,
        }
    }
}

/// How an attempt ended, as far as it matters to a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Without an answer; `None` if that is no reason for a retry, whatever is configured.
    Failed(Option<RetryCondition>),
    /// With the beginning of an answer.
    Answered {
        /// Its status.
        status: u16,
        /// Whether the engine says that it is dying or stopping.
        is_dying: bool,
    },
}

impl Ending {
    /// The connection to a worker broke before an answer, or under it.
    pub(crate) const BROKEN: Self = Self::Failed(Some(RetryCondition::Broken));

    /// The worker did its part.
    pub(crate) const SERVED: Self = Self::Answered { status: 200, is_dying: false };

    /// A worker gave no answer.
    pub(crate) fn of_call(error: &UpstreamError) -> Self {
        Self::Failed(match error {
            // Another worker would not be reached either.
            UpstreamError::OwnShortage(_) => None,
            UpstreamError::ConnectTimeout { .. }
            | UpstreamError::Connect(_)
            | UpstreamError::Unresolved(_)
            | UpstreamError::Tls { .. }
            | UpstreamError::Unsent(_) => Some(RetryCondition::Connect),
            UpstreamError::Switched
            | UpstreamError::Coded
            | UpstreamError::Broken(_)
            | UpstreamError::NotHttp
            | UpstreamError::Stale
            | UpstreamError::Ended
            | UpstreamError::Empty => Some(RetryCondition::Broken),
        })
    }

    /// An answer was not waited for any longer.
    pub(crate) fn of_waiting(why: GaveUp) -> Self {
        Self::Failed(match why {
            GaveUp::OutOfTime => None,
            GaveUp::Silent | GaveUp::Dead => Some(RetryCondition::Silent),
        })
    }

    /// What of this router's conditions it meets.
    fn condition(self, on: RetryOn) -> Option<RetryCondition> {
        let condition = match self {
            Self::Failed(condition) => condition?,
            Self::Answered { status, is_dying } => match condition_of(status)? {
                RetryCondition::InternalError if is_dying && on.has(RetryCondition::EngineDead) => {
                    RetryCondition::EngineDead
                }
                condition => condition,
            },
        };
        on.has(condition).then_some(condition)
    }

    /// True if the request may have taken the worker with it: the connection broke, or a proxy in
    /// front of the worker says so.
    pub(crate) fn is_break(self) -> bool {
        self == Self::BROKEN || matches!(self, Self::Answered { status: 502, .. })
    }

    /// True if it says nothing of the other ranks of an engine: one is full, and others may have room.
    pub(crate) fn is_of_rank(self) -> bool {
        matches!(self, Self::Answered { status, .. } if Verdict::of(status) == Verdict::Full)
    }

    /// How long the other half of a pair is waited for behind one that ended like this, if what it comes
    /// to matters to a retry.
    pub(crate) fn grace(self, on: RetryOn) -> Option<Duration> {
        if self.is_break() { Some(BREAKS_TOO) } else { self.is_untouched(on).then_some(ENDS_TOO) }
    }

    /// True if it is a reason for a retry although the worker did not work on the request.
    fn is_untouched(self, on: RetryOn) -> bool {
        self.condition(on).is_some_and(|condition| !RetryReason::of(condition).may_have_run())
    }

    /// True if the worker may have worked on the request, be it in vain.
    fn may_have_run(self) -> bool {
        match self {
            Self::Failed(condition) => {
                condition.is_some_and(|condition| RetryReason::of(condition).may_have_run())
            }
            Self::Answered { status, .. } => {
                matches!(Verdict::of(status), Verdict::Served | Verdict::Failed)
            }
        }
    }
}

/// How often a request may still be tried again.
#[derive(Debug)]
pub(crate) struct Retries {
    on: RetryOn,
    left: u32,
    /// Whether all workers that were left were found full.
    is_crowded: bool,
    /// Why the next attempt is made, if it is one more.
    reason: Option<RetryReason>,
}

impl Retries {
    /// This many, for these conditions.
    pub(crate) fn new(left: u32, on: RetryOn) -> Self {
        Self { on, left, is_crowded: false, reason: None }
    }

    /// Uses up a retry, if the ending is a reason for one and one is left. What the worker may have
    /// worked on is a reason only once, and so is what the `other` half of a pair may have: how that
    /// one ended, if it has. `second` is that once.
    pub(crate) fn take(&mut self, ending: Ending, other: Option<Ending>, second: &SecondRun) -> bool {
        let Some(reason) = ending.condition(self.on).map(RetryReason::of) else { return false };
        let Some(left) = self.left.checked_sub(1) else { return false };
        // One that found everybody full has asked the one that it may ask.
        let is_asked = reason == RetryReason::Full && self.is_crowded;
        if ending.is_break() && other.is_some_and(Ending::is_break) {
            // A request that breaks both halves has had both runs.
            second.take();
        }
        let has_run = reason.may_have_run() || other.is_some_and(Ending::may_have_run);
        let may = !is_asked && (!has_run || second.take());
        if may {
            self.left = left;
            self.reason = Some(reason);
        }
        may
    }

    /// True if the request ends with this, however many retries are left.
    pub(crate) fn is_final(&self, ending: Ending) -> bool {
        ending.condition(self.on).is_none()
    }

    /// True if a request whose connection breaks could still go to another worker.
    pub(crate) fn has_for_break(&self) -> bool {
        self.left > 0 && self.on.has(RetryCondition::Broken)
    }

    /// Notes that everybody is full, so that one worker is asked and no more; false if that was noted
    /// before.
    pub(crate) fn find_crowded(&mut self) -> bool {
        !std::mem::replace(&mut self.is_crowded, true)
    }

    /// An attempt begins: why, if it is one more.
    pub(crate) fn begin(&mut self) -> Option<RetryReason> {
        self.reason.take()
    }
}

/// What a request may do once: run a second time after a run that broke its connection, fell
/// silent or failed. One that makes workers crash thus takes two of them with it at most, whatever
/// the state of their connections. Both halves of a pair share it.
#[derive(Debug, Default)]
pub struct SecondRun {
    taken: AtomicBool,
}

/// What becomes of a request whose idle connection ended before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterIdle {
    /// It goes to the same worker over a new connection, since nothing of it was sent.
    Unsent,
    /// It goes to the same worker over a new connection: that is its second run.
    SecondRun,
    /// It may go to another worker, if it has a retry.
    Elsewhere,
    /// It has failed.
    Failed,
}

impl SecondRun {
    /// As the client asks in [`NO_RETRY_HEADER`]: one value that forbids it is enough, since a proxy on
    /// the way may add one.
    pub fn allowed_by<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let is_forbidden =
            |value: &HeaderValue| value != "0" && !value.as_bytes().eq_ignore_ascii_case(b"false");
        Self { taken: AtomicBool::new(values.any(is_forbidden)) }
    }

    /// What is left of it, for the request in another form. This one is not used from then on.
    pub(crate) fn carried_on(&self) -> Self {
        Self { taken: AtomicBool::new(!self.is_left()) }
    }

    /// True if it is left.
    pub fn is_left(&self) -> bool {
        // Relaxed: it orders nothing else.
        !self.taken.load(Ordering::Relaxed)
    }

    /// Uses it up; false if it was before.
    pub fn take(&self) -> bool {
        // Relaxed: see `is_left`.
        !self.taken.swap(true, Ordering::Relaxed)
    }

    /// An idle connection ended with this error. A worker may close one at the moment when a request
    /// is sent, which is no failure of the worker; but unless nothing was sent, nobody can tell that
    /// from a worker that the request made crash. Another worker is better then, if `has_other`: one
    /// that is about to be gone may still take a connection, and break that too.
    pub fn after_idle(&self, error: &UpstreamError, has_other: impl Fn() -> bool) -> AfterIdle {
        match error {
            UpstreamError::Unsent(_) => AfterIdle::Unsent,
            UpstreamError::Broken(_) | UpstreamError::Ended if has_other() => AfterIdle::Elsewhere,
            _ if self.take() => AfterIdle::SecondRun,
            _ => AfterIdle::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_numbers() {
        for (position, (reason, _)) in RetryReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
    }

    #[test]
    fn status_is_a_reason_only_where_it_is_configured() {
        let answer = |status, is_dying| Ending::Answered { status, is_dying };
        for (condition, name) in RetryCondition::ALL {
            let on = RetryOn::from_iter([condition]);
            let met: Vec<(u16, bool)> = (200..=599)
                .flat_map(|status| [(status, false), (status, true)])
                .filter(|(status, is_dying)| answer(*status, *is_dying).condition(on).is_some())
                .collect();
            let expected = match (condition, name.parse()) {
                (RetryCondition::EngineDead, _) => vec![(500, true)],
                (_, Ok(status)) => vec![(status, false), (status, true)],
                (_, Err(_)) => Vec::new(),
            };
            assert_eq!(met, expected, "{name}");
        }
    }

    #[test]
    fn request_runs_a_second_time_once_and_leaves_full_workers_as_often_as_it_may() {
        let (second, all) = (SecondRun::default(), RetryCondition::ALL.map(|(condition, _)| condition));
        let mut retries = Retries::new(4, all.into_iter().collect());
        let answer = |status| Ending::Answered { status, is_dying: false };
        assert!(retries.take(answer(502), None, &second));
        assert_eq!(retries.begin(), Some(RetryReason::Status));
        assert_eq!(retries.begin(), None, "told twice");
        assert!(!retries.take(answer(504), None, &second), "a third run");
        assert!(!retries.take(answer(200), None, &second));
        assert!(retries.take(answer(503), None, &second) && retries.take(answer(429), None, &second));
        assert!(retries.find_crowded() && !retries.find_crowded());
        assert!(!retries.take(answer(503), None, &second), "the one that may be asked of all that are full");
        assert!(retries.take(Ending::Failed(Some(RetryCondition::Connect)), None, &second));
        assert!(!retries.take(Ending::Failed(Some(RetryCondition::Connect)), None, &second), "none is left");
    }
    #[test]
    fn full_half_hides_no_run_of_the_other() {
        let on: RetryOn = RetryCondition::ALL.map(|(condition, _)| condition).into_iter().collect();
        let answer = |status| Ending::Answered { status, is_dying: false };
        let connect = Ending::Failed(Some(RetryCondition::Connect));
        let runs = [Ending::BROKEN, Ending::SERVED, answer(500), answer(502), answer(504)];
        for (other, may_again) in runs.map(|run| (run, false)).into_iter().chain([
            (answer(503), true),
            (answer(429), true),
            (answer(400), true),
            (connect, true),
        ]) {
            for ending in [answer(503), answer(429), connect] {
                let second = SecondRun::default();
                let mut retries = Retries::new(4, on);
                assert!(retries.take(ending, Some(other), &second), "{ending:?} {other:?}");
                assert_eq!(retries.take(ending, Some(other), &second), may_again, "{ending:?} {other:?}");
                assert!(retries.take(ending, None, &second), "{ending:?} {other:?}: that is no run");
            }
        }
        let second = SecondRun::default();
        let mut retries = Retries::new(4, on);
        assert!(!retries.take(Ending::BROKEN, Some(answer(502)), &second), "it broke both");
    }
}
