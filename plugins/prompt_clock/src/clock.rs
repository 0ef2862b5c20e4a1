//! The clock of one worker.

use crate::pace::WorkPace;

/// What is known of one worker's prompts. Times are in seconds of the host's clock, work in seconds at the
/// nominal rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WorkerClock {
    /// When it is done with all that it was sent.
    pub(crate) done_at: f64,
    /// Sum of all work that it was sent.
    pub(crate) sent: f64,
    /// The same up to the newest prompt that is known to be done.
    pub(crate) known: f64,
    /// When the last prompt was done.
    pub(crate) last_first: f64,
    pub(crate) pace: WorkPace,
    /// When it has reported its queue last, and what it was sent until then.
    pub(crate) reported_at: f64,
    pub(crate) sent_until_report: f64,
}

/// What is kept of a request until it has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedPrompt {
    /// When it was sent.
    pub(crate) at: f64,
    /// Its own work.
    pub(crate) work: f64,
    /// [`WorkerClock::sent`] with it.
    pub(crate) sent: f64,
    pub(crate) begun: bool,
}

/// Reports closer to each other than this are one, in seconds: their ages are whole milliseconds.
const SAME_REPORT: f64 = 0.02;
/// What the queue of a report stands for, since it tells nothing of prompts that are being processed.
const QUEUED_SHARE: f64 = 1.1;

impl WorkerClock {
    /// Hears that at this time its report was so old.
    pub(crate) fn hear(&mut self, now: f64, report_age: f64) {
        let reported_at = now - report_age;
        if reported_at > self.reported_at + SAME_REPORT {
            self.reported_at = reported_at;
            self.sent_until_report = self.sent;
        }
    }

    /// Seconds until it is done with what it was sent; `busy` says whether anything is in flight there.
    pub(crate) fn wait(&mut self, now: f64, busy: bool) -> f64 {
        if !busy {
            self.done_at = self.done_at.min(now);
        }
        f64::max(self.done_at - now, 0.0)
    }

    /// The same by its last report: work that was queued then, and what was sent since. It knows of other
    /// routers' requests.
    pub(crate) fn reported_wait(&self, now: f64, queued: f64, pace: f64) -> f64 {
        let since = f64::max(self.sent - self.sent_until_report, 0.0);
        f64::max((QUEUED_SHARE * queued + since) / pace - (now - self.reported_at), 0.0)
    }

    /// It is sent a request that it begins after this wait.
    pub(crate) fn send(&mut self, now: f64, wait: f64, work: f64, pace: f64) -> PlacedPrompt {
        self.done_at = f64::max(self.done_at, now + wait) + work / pace;
        self.sent += work;
        PlacedPrompt { at: now, work, sent: self.sent, begun: false }
    }

    /// The first token of a request came. The time that its prompt took, without that in which the worker was
    /// busy with others.
    pub(crate) fn first_token(&mut self, placed: PlacedPrompt, at: f64) -> f64 {
        let took = f64::max(at - f64::max(placed.at, self.last_first), 0.0);
        self.last_first = f64::max(self.last_first, at);
        took
    }

    /// All up to this request is done: what is left is what was sent after it.
    pub(crate) fn set_right(&mut self, placed: PlacedPrompt, at: f64, pace: f64) {
        if placed.sent > self.known {
            self.known = placed.sent;
            self.done_at = at + (self.sent - placed.sent) / pace;
        }
    }

    /// A request goes that has not begun, with its work.
    pub(crate) fn take_back(&mut self, placed: PlacedPrompt, pace: f64) {
        if placed.sent > self.known {
            self.done_at -= placed.work / pace;
        }
    }
}
