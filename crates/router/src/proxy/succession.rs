//! When workers that are gone from the configuration may go: once those of it can take their place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::checked::HealthSettings;
use crate::proxy::models::Known;
use crate::proxy::roster::Roster;
use crate::proxy::target::Target;
use sglang_router_rs::core::Worker;

/// How often what no check tells of is looked at: a circuit that closed, an operator who drained one.
const LOOK: Duration = Duration::from_millis(500);

/// Workers that leave, and those that stay or are new. A new one may be chosen only after its first
/// health check, which takes engines a second and more: whoever takes the others out before refuses
/// every request meanwhile.
///
/// What is waited for: all of the new fleet are fit; or each has been judged, and somebody fit has the
/// role and the models of each fit worker that leaves. The first lets a file change roles and models,
/// the second lets one worker of many be ill.
#[derive(Debug)]
pub struct Succession {
    roster: Arc<Roster>,
    leaving: Vec<String>,
    staying: Vec<String>,
    limit: Duration,
    deadline: Instant,
}

impl Succession {
    /// Of workers by their URLs. It is given as long as checks take to find a worker ill, and no time
    /// without checks.
    pub fn new(
        roster: Arc<Roster>,
        leaving: Vec<String>,
        staying: Vec<String>,
        health: &HealthSettings,
    ) -> Self {
        let check = health.interval.map_or(Duration::ZERO, |interval| interval + health.timeout);
        let limit = check.saturating_mul(health.failures);
        Self { roster, leaving, staying, limit, deadline: Instant::now() + limit }
    }

    /// Those that leave.
    pub fn leaving(&self) -> &[String] {
        &self.leaving
    }

    /// The time that it was given.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// True if that time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// True if those that leave may go without harm to requests.
    pub fn is_ready(&self) -> bool {
        let staying: Vec<_> = self.staying.iter().filter_map(|url| self.roster.find(url)).collect();
        if self.leaving.is_empty() || staying.iter().all(is_fit) {
            return true;
        }
        staying.iter().all(|(targets, _)| targets.iter().all(|target| target.is_judged()))
            && self
                .leaving
                .iter()
                .filter_map(|url| self.roster.find(url))
                .all(|one| is_covered(&one, &staying))
    }

    /// Waits until [`is_ready`](Self::is_ready). False if it is not within the time that it was given.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn ready(&self) -> bool {
        let waiting = async {
            loop {
                let judged = self.roster.judged();
                if self.is_ready() {
                    return;
                }
                // Over or not, it is looked again.
                let _ = tokio::time::timeout(LOOK, judged).await;
            }
        };
        tokio::time::timeout_at(self.deadline, waiting).await.is_ok()
    }
}

/// All of a worker, or its ranks, and what is known of its models.
type KnownWorker = (Vec<Arc<Target>>, Known);

/// True if some of it may be chosen.
fn is_fit((targets, _): &KnownWorker) -> bool {
    targets.iter().any(|target| target.is_fit())
}

/// True if what this worker serves is served by others too; one that serves nobody leaves no gap.
fn is_covered(one: &KnownWorker, others: &[KnownWorker]) -> bool {
    if !is_fit(one) {
        return true;
    }
    let role = |(targets, _): &KnownWorker| targets.first().map(|target| target.worker().role());
    let others = others.iter().filter(|other| role(other) == role(one) && is_fit(other));
    // One that lists nothing may serve any model.
    let others: Vec<_> = others.map(|(_, known)| known.cards()).collect();
    let has =
        |id: &str| others.iter().any(|cards| cards.is_empty() || cards.iter().any(|card| card.id() == id));
    !others.is_empty() && one.1.cards().iter().all(|card| has(card.id()))
}
