//! The keeper of one worker: asks for its health, load and models, lets it recover, prunes its
//! connections.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::checked::{HealthSettings, OwnSettings};
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::poll;
use crate::proxy::engines::rank_learner::RankLearner;
use crate::proxy::kv_events::feeds;
use crate::proxy::learning::Learner;
use crate::proxy::own_questions;
use crate::proxy::own_questions::Finding;
use crate::proxy::roster::Roster;
use sglang_router_rs::core::WorkerReport;
use sglang_router_rs::types::{PrefixBlocks, in_full};

/// How often idle connections are looked at.
const PRUNE_INTERVAL: Duration = Duration::from_secs(5);

/// Looks after a worker for as long as it is polled.
///
/// # Cancel safety
///
/// Dropping the future ends the looking after and nothing else.
pub(crate) async fn keep(
    endpoint: Arc<Endpoint>,
    own: OwnSettings,
    roster: Arc<Roster>,
    settings: HealthSettings,
    blocks: PrefixBlocks,
) {
    let came_up = CameUp::default();
    let learner = Learner::new(&endpoint, &roster, &settings);
    let ranks = RankLearner::new(&endpoint, own, &roster, settings.timeout);
    let checks = Checks { endpoint: &endpoint, roster: &roster, learner: &learner, ranks: &ranks };
    let loads = poll::keep(&endpoint, own, &roster, &ranks, &settings, &came_up.loads);
    let listening = feeds::keep(&endpoint, own, &roster, &settings, blocks, &came_up.feeds);
    let recovering = recover(&endpoint, &roster);
    let pruning = async {
        loop {
            tokio::time::sleep(PRUNE_INTERVAL).await;
            endpoint.pool().prune();
        }
    };
    tokio::join!(checks.go_on(&settings, &came_up), loads, learner.keep(), recovering, pruning, listening);
}

/// Lets all that leads to a worker recover, also what opens later.
async fn recover(endpoint: &Endpoint, roster: &Roster) {
    let url = endpoint.url().to_string();
    loop {
        let targets = roster.targets(&url);
        let mut recoveries: Vec<_> = targets.iter().map(|target| Box::pin(target.recover())).collect();
        let all = std::future::poll_fn(|cx| {
            // None of them ends.
            for recovery in &mut recoveries {
                let _never = recovery.as_mut().poll(cx);
            }
            Poll::<()>::Pending
        });
        tokio::select! {
            () = endpoint.has_opened() => {}
            () = all => {}
        }
    }
}

/// Who hears that a worker came up.
#[derive(Debug, Default)]
struct CameUp {
    loads: Notify,
    feeds: Notify,
}

/// Looks after a worker that was removed while requests may wait for it: they must learn of its death.
/// Ends with the last of them. Asks nothing of the worker but whether it takes connections.
///
/// # Cancel safety
///
/// As [`keep`].
pub(crate) async fn keep_removed(endpoint: Weak<Endpoint>, roster: Arc<Roster>, settings: HealthSettings) {
    let Some(interval) = settings.interval else { return };
    loop {
        tokio::time::sleep(own_questions::jittered(interval)).await;
        // Whoever waits holds it. One that was added again at its URL counts the same requests, so
        // the number alone would not tell that the last one has ended.
        let Some(endpoint) = endpoint.upgrade().filter(|endpoint| endpoint.load_of_all() > 0) else { return };
        if endpoint.checked(false).await {
            roster.found_dead();
        }
    }
}

/// Who is told what checks find.
struct Checks<'a> {
    endpoint: &'a Endpoint,
    roster: &'a Roster,
    learner: &'a Learner<'a>,
    ranks: &'a RankLearner<'a>,
}

impl Checks<'_> {
    async fn go_on(&self, settings: &HealthSettings, came_up: &CameUp) {
        let Some(interval) = settings.interval else { return std::future::pending().await };
        let endpoint = self.endpoint;
        let url = endpoint.url().to_string();
        // One that passes already was looked after by another keeper.
        let mut streak = Streak { passing: endpoint.is_passing().then_some(true), against: 0 };
        let (mut knows, mut is_doubted) = (true, false);
        loop {
            let passed = match own_questions::check(endpoint, &settings.endpoint, settings.timeout).await {
                Finding::Passed => {
                    endpoint.found(None);
                    Some(true)
                }
                Finding::Failed(fault) => {
                    endpoint.found(Some(fault));
                    Some(false)
                }
                Finding::Nothing(ref error) => {
                    if knows {
                        let error = in_full(error);
                        tracing::warn!(worker = url, error, "its health cannot be checked");
                    }
                    None
                }
            };
            knows = passed.is_some();
            if let Some(passed) = passed {
                if let Some(passing) = streak.after(passed, settings) {
                    self.turn(passing, came_up).await;
                    self.roster.judge();
                } else if passed && is_doubted {
                    // It may have started anew between two checks.
                    self.ranks.learn_at_start().await;
                }
                is_doubted = !passed;
                if endpoint.checked(passed).await {
                    self.roster.died(&url);
                }
            }
            tokio::time::sleep(own_questions::jittered(interval)).await;
        }
    }

    /// A worker passes its checks from now on, or does not.
    async fn turn(&self, passing: bool, came_up: &CameUp) {
        let url = self.endpoint.url().to_string();
        if passing {
            // Before anybody chooses it: it may serve other models than before, and have other ranks.
            self.learner.learn_at_start().await;
            self.ranks.learn_at_start().await;
            self.roster.shown().await;
        }
        tracing::info!(worker = url, passing, "health check");
        self.endpoint.set_passing(passing);
        if passing {
            came_up.loads.notify_one();
            came_up.feeds.notify_one();
        } else {
            self.roster.report(&url, |_| WorkerReport::UNKNOWN);
        }
    }
}

/// Checks in a row with the same result.
#[derive(Debug, Default)]
struct Streak {
    passing: Option<bool>,
    against: u32,
}

impl Streak {
    /// The new state, if this check changed it.
    fn after(&mut self, passed: bool, settings: &HealthSettings) -> Option<bool> {
        if self.passing == Some(passed) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.passing, passed) {
            // Nothing is known of a new worker, so its first check decides.
            (None, _) => 1,
            (_, true) => settings.successes,
            (_, false) => settings.failures,
        };
        if self.against < needed {
            return None;
        }
        *self = Self { passing: Some(passed), against: 0 };
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HealthSettings {
        HealthSettings {
            interval: None,
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 2,
            endpoint: "/health".to_owned(),
            load_interval: None,
            poll_models: false,
            models_interval: Duration::from_secs(30),
        }
    }

    #[test]
    fn first_check_decides_alone_and_later_ones_need_a_row() {
        let mut streak = Streak::default();
        let mut after = |passed| streak.after(passed, &settings());
        assert_eq!(after(true), Some(true));
        assert_eq!([after(false), after(false), after(true)], [None, None, None], "the row was broken");
        assert_eq!([after(false), after(false), after(false)], [None, None, Some(false)]);
        assert_eq!([after(true), after(false), after(true), after(true)], [None, None, None, Some(true)]);
    }
}
