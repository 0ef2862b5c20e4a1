//! Learns from one worker which models it serves.

use std::time::Duration;

use tokio::sync::Notify;

use crate::config::checked::HealthSettings;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::models::Listing;
use crate::proxy::own_questions;
use crate::proxy::roster::Roster;

const PATH: &str = "/v1/models";

/// How long a worker that comes up may keep its own start waiting by not answering.
const START_LIMIT: Duration = Duration::from_secs(2);

/// The shortest time between two questions to a worker that does not answer.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// Asks a worker for its models and tells the roster.
#[derive(Debug)]
pub(crate) struct Learner<'a> {
    endpoint: &'a Endpoint,
    roster: &'a Roster,
    settings: &'a HealthSettings,
    /// It did not answer when it came up.
    unanswered: Notify,
}

impl<'a> Learner<'a> {
    /// A learner that has not asked yet.
    pub(crate) fn new(endpoint: &'a Endpoint, roster: &'a Roster, settings: &'a HealthSettings) -> Self {
        Self { endpoint, roster, settings, unanswered: Notify::new() }
    }

    /// Asks once, before the worker may be chosen.
    ///
    /// # Cancel safety
    ///
    /// Nothing is learnt then.
    pub(crate) async fn learn_at_start(&self) {
        if self.settings.poll_models && !self.learn(self.settings.timeout.min(START_LIMIT)).await {
            self.unanswered.notify_one();
        }
    }

    /// Asks on a slow clock, while the worker passes its checks; soon again if it did not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the asking.
    pub(crate) async fn keep(&self) {
        if !self.settings.poll_models {
            return std::future::pending().await;
        }
        let slow = self.settings.models_interval;
        // Nobody else asks first if there are no checks.
        let mut pause = if self.settings.interval.is_none() { Duration::ZERO } else { slow };
        loop {
            tokio::select! {
                () = tokio::time::sleep(own_questions::jittered(pause)) => {}
                () = self.unanswered.notified() => {
                    pause = MIN_PAUSE.min(slow);
                    continue;
                }
            }
            let has_answered = !self.endpoint.is_passing() || self.learn(self.settings.timeout).await;
            pause = if has_answered { slow } else { (pause * 2).max(MIN_PAUSE).min(slow) };
        }
    }

    /// False if there was no answer that says anything. What was known stays known then.
    async fn learn(&self, limit: Duration) -> bool {
        let Ok((status, body)) = own_questions::ask(self.endpoint, PATH, limit).await else { return false };
        let listing = match Listing::read(&body).filter(|_| status.is_success()) {
            Some(listing) => listing,
            None if own_questions::is_absent(status) => Listing::default(),
            None => return false,
        };
        self.roster.learn(&self.endpoint.url().to_string(), listing);
        true
    }
}
