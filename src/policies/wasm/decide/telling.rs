//! Reports what came of requests to a plugin, off the request path, and judges failures of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::background;
use crate::engine::error::CallError;
use crate::engine::exports::Tell;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::canary_verdict::LOST_TIME;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::outcomes::{Outcomes, ToldEvents};
use crate::types::virtual_time;

/// How long events are collected before the plugin is told: nobody waits for a request that has ended,
/// but a worker whose answer has begun can be given the next prompt. The timer may be a millisecond late.
const COMPLETIONS: Duration = Duration::from_millis(20);
const FIRST_TOKENS: Duration = Duration::from_millis(4);
const SESSION_ENDS: Duration = Duration::from_millis(4);

/// How long a simulation waits for a plugin that is told something: longer than a call may take.
const SIMULATED_CALL: Duration = Duration::from_secs(60);

/// What a plugin is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A streamed answer has begun.
    FirstToken,
    /// A request has finished.
    Completion,
    /// A session is over.
    SessionEnd,
}

impl Event {
    fn batch(self) -> Duration {
        match self {
            Self::FirstToken => FIRST_TOKENS,
            Self::Completion => COMPLETIONS,
            Self::SessionEnd => SESSION_ENDS,
        }
    }

    /// What is told now: that an answer has begun also before that requests have finished, since it may
    /// be one of them.
    fn and_before(self) -> &'static [Self] {
        match self {
            Self::FirstToken => &[Self::FirstToken],
            Self::Completion => &[Self::FirstToken, Self::Completion],
            Self::SessionEnd => &[Self::SessionEnd],
        }
    }

    fn export(self) -> Tell {
        match self {
            Self::FirstToken => Tell::FirstToken,
            Self::Completion => Tell::Complete,
            Self::SessionEnd => Tell::SessionEnd,
        }
    }

    fn has_listener(self, generation: &Generation) -> bool {
        match self {
            Self::FirstToken => generation.facts.has_on_first_token,
            Self::Completion => generation.facts.has_on_complete,
            Self::SessionEnd => generation.facts.has_on_session_end,
        }
    }

    fn take(self, outcomes: &Outcomes) -> Option<ToldEvents> {
        match self {
            Self::FirstToken => outcomes.take_first_tokens(),
            Self::Completion => outcomes.take_completions(),
            Self::SessionEnd => outcomes.take_session_ends(),
        }
    }
}

impl WasmPolicy {
    /// Hands collected events to the generation after a moment.
    pub(crate) fn schedule(&self, generation: Arc<Generation>, event: Event) {
        let plugin = self.downgrade();
        if virtual_time::is_virtual() {
            virtual_time::later(event.batch(), move || {
                let Some(plugin) = plugin.upgrade() else { return };
                let until = Instant::now() + SIMULATED_CALL;
                // A call that takes longer is not heard of, as one that is cancelled.
                let _ = background::block_on(plugin.tell_batches(generation, event), until);
            });
            return;
        }
        self.engine().background.handle().spawn(async move {
            tokio::time::sleep(event.batch()).await;
            let Some(plugin) = plugin.upgrade() else { return };
            plugin.tell_batches(generation, event).await;
        });
    }

    async fn tell_batches(&self, generation: Arc<Generation>, event: Event) {
        let generation = self.heir(generation);
        for event in event.and_before() {
            // Sessions come in several messages, since their keys may be long. Of other events those that
            // come meanwhile wait for their own turn, which keeps their order.
            while self.tell_events(&generation, *event).await && *event == Event::SessionEnd {}
        }
    }

    /// The generation that shares what this one keeps and is in use now: it may have taken over
    /// meanwhile.
    fn heir(&self, generation: Arc<Generation>) -> Arc<Generation> {
        let active = self.in_use();
        let shares = |other: &&Arc<Generation>| Arc::ptr_eq(&other.kept, &generation.kept);
        let deciding = active.as_ref().and_then(|active| active.deciding().find(shares).cloned());
        deciding.unwrap_or(generation)
    }

    /// Tells one message; false if there is none.
    async fn tell_events(&self, generation: &Arc<Generation>, event: Event) -> bool {
        let Some(events) = event.take(&generation.kept.outcomes) else { return false };
        // A plugin out of the path is told nothing: its failures here may be why it is out.
        if self.breaker().is_open() || !event.has_listener(generation) {
            return true;
        }
        if let Err(error) = tell(generation, event.export(), &events).await {
            self.fail_completion(generation, &error);
        }
        true
    }

    /// A failed batch counts like a failed decision: on probation, as a canary, and for the time it
    /// lost.
    fn fail_completion(&self, generation: &Generation, error: &CallError) {
        self.state().fail_completion(generation.id, error);
        if error.is_untouched() {
            return;
        }
        generation.stats.fail_batch();
        if matches!(error, CallError::Timeout { .. }) {
            self.lose(generation.id);
        }
        self.failed_on_watch(generation.id);
    }

    /// Counts a budget that a guest spent outside the decisions that fail: in a call nobody waits for,
    /// or as a canary, whose failures the stable generation makes up for.
    #[cold]
    pub(crate) fn lose(&self, generation: u64) {
        let active = self.in_use();
        let Some(active) = active.as_ref() else { return };
        // Time that a canary loses counts against the canary only.
        if let Some(canary) = active.canary.as_ref().filter(|canary| canary.generation.id == generation) {
            if canary.lost.lose(canary.generation.budget()) {
                self.drop_candidate(Some(generation), LOST_TIME);
            }
        } else if active.stable.id == generation && self.breaker().lose(active.stable.budget()) {
            let plugin = self.name();
            tracing::warn!(
                plugin,
                "the plugin spends too long beside its decisions and is out of the path for a while"
            );
        }
    }
}

/// Any idle instance will do. One that has made no decision since workers changed learns their table first:
/// it would not know whom the events name.
async fn tell(generation: &Generation, export: Tell, events: &ToldEvents) -> Result<(), CallError> {
    let mut lease = generation.begin_call().await?;
    let learns = lease.instance().can_tell(Tell::Workers) && !events.table.is_empty();
    if learns && lease.instance().told_version != events.table_version {
        lease.tell_message(Tell::Workers, &events.table).await?;
        lease.instance().told_version = events.table_version;
    }
    lease.tell_message(export, &events.message).await?;
    lease.finish(Some(&generation.pool));
    Ok(())
}
