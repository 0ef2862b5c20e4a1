//! Keeps the feeds of one worker: finds out what it publishes, listens, and begins anew with it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::checked::HealthSettings;
use crate::proxy::engines::sglang::SGLANG;
use crate::proxy::engines::vllm::VLLM;
use crate::proxy::kv_events::event_source::{Sources, of_sglang, of_vllm};
use crate::proxy::kv_events::held_blocks_change::HeldCounts;
use crate::proxy::kv_events::load_board::LoadBoard;
use crate::proxy::kv_events::rank_chains::{CacheNames, RankChains};
use crate::proxy::kv_events::rank_feed::{RankFeed, WorkerFeed};
use crate::proxy::kv_events::subscriber::Subscriber;
use crate::proxy::models::Known;
use crate::proxy::own_questions;
use crate::proxy::roster::Roster;
use crate::proxy::target::Target;
use sglang_router_rs::core::Worker;
use sglang_router_rs::types::PrefixBlocks;

/// How often it is looked whether there is something new to listen to.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks an engine is asked again, if not all that it publishes is heard: at first, and, twice as
/// many each time, at most.
const LOOKS_UNHEARD: (u32, u32) = (2, 120);

/// Blocks of engines and of the index, together, of which a worker's ranks remember how their chains go on:
/// about 100 bytes each.
const MAX_BLOCKS: usize = 1 << 21;

/// Names of a model under which its blocks are entered.
const MAX_NAMES: usize = 4;

/// Listens to a worker for as long as it is polled.
///
/// # Cancel safety
///
/// Dropping the future ends the listening.
pub(crate) async fn keep(
    target: &Arc<Target>,
    roster: &Arc<Roster>,
    settings: &HealthSettings,
    blocks: PrefixBlocks,
    came_up: &Notify,
) {
    if !target.own().kv_events {
        return std::future::pending().await;
    }
    let mut feeds = Feeds {
        target: Arc::clone(target),
        roster: Arc::clone(roster),
        limit: settings.timeout,
        asks_for_load: settings.load_interval.is_some(),
        blocks,
        sources: None,
        engine: None,
        names: None,
        feed: None,
        events: JoinSet::new(),
        loads: JoinSet::new(),
        unheard: 0,
        patience: LOOKS_UNHEARD.0,
        deaths: target.deaths(),
        is_told: false,
    };
    loop {
        tokio::select! {
            biased;
            () = came_up.notified() => feeds.begin_anew(),
            () = sleep(own_questions::jittered(LOOK)) => {}
        }
        if feeds.heed() && target.is_passing() {
            feeds.look().await;
        }
    }
}

struct Feeds {
    target: Arc<Target>,
    roster: Arc<Roster>,
    limit: Duration,
    asks_for_load: bool,
    blocks: PrefixBlocks,
    /// What it publishes; `None` if it was not asked since it came up.
    sources: Option<Sources>,
    /// Which engine answered.
    engine: Option<&'static str>,
    /// The names with which it is listened to; `None` if it is not.
    names: Option<Arc<CacheNames>>,
    feed: Option<Arc<WorkerFeed>>,
    events: JoinSet<()>,
    loads: JoinSet<()>,
    unheard: u32,
    patience: u32,
    /// How often it had been found dead when it was listened to.
    deaths: u64,
    /// Whether the log says that it publishes nothing.
    is_told: bool,
}

impl Feeds {
    /// Stops listening to what nobody wants to know any more, and forgets what was said of it. False if nobody
    /// wants to know anything.
    fn heed(&mut self) -> bool {
        let wants_events = self.roster.has_prefix_index();
        let wants_loads = self.asks_for_load && self.roster.wants_reports();
        let worker = self.target.worker();
        if !wants_loads && !self.loads.is_empty() {
            self.loads = JoinSet::new();
            tracing::info!(worker = worker.url(), "what it pushes of its load is not listened to any more");
        }
        if self.feed.as_ref().is_some_and(|feed| worker.indexed() != Some(feed.worker)) {
            tracing::info!(worker = worker.url(), "its KV events are not listened to any more");
            self.stop_events();
            self.target.feed().set_sources(0);
        }
        self.is_told &= wants_events;
        if !(wants_events || wants_loads) {
            // Until somebody does, it may become another engine.
            self.sources = None;
            (self.unheard, self.patience) = (0, LOOKS_UNHEARD.0);
        }
        wants_events || wants_loads
    }

    /// The engine may be another than before.
    fn begin_anew(&mut self) {
        self.sources = None;
        self.is_told = false;
        self.loads = JoinSet::new();
        self.stop_events();
        self.roster.forget_prefixes(self.target.worker());
    }

    fn stop_events(&mut self) {
        self.events = JoinSet::new();
        if let Some(feed) = self.feed.take() {
            feed.end();
        }
        self.names = None;
    }

    async fn look(&mut self) {
        let Some((target, known)) = self.roster.find(self.target.worker().url()) else { return };
        let Some(engine) = engine_of(&target) else { return };
        // The index has forgotten it then, too.
        if std::mem::replace(&mut self.deaths, target.deaths()) != target.deaths() {
            self.begin_anew();
        }
        self.tire();
        if self.sources.is_none() || self.engine != Some(engine) {
            let Some(sources) = self.ask(engine).await else { return };
            if self.sources.as_ref().is_some_and(|before| *before != sources) {
                self.begin_anew();
            }
            self.engine = Some(engine);
            self.sources = Some(sources);
        }
        self.listen_to_loads(&target);
        self.listen_to_events(&target, &known, engine);
    }

    /// Asks again now and then where something is not heard.
    fn tire(&mut self) {
        let log = self.target.feed();
        let is_heard = log.source_count() > 0 && log.connection_count() >= log.source_count();
        if is_heard {
            (self.unheard, self.patience) = (0, LOOKS_UNHEARD.0);
            return;
        }
        self.unheard += 1;
        if self.unheard >= self.patience {
            self.unheard = 0;
            self.patience = (self.patience * 2).min(LOOKS_UNHEARD.1);
            self.engine = None;
        }
    }

    /// What the engine publishes; `None` if it does not answer.
    async fn ask(&self, engine: &str) -> Option<Sources> {
        let is_sglang = engine == SGLANG.name;
        let path = if is_sglang { "/server_info" } else { "/kv_event_sources" };
        let (status, body) = own_questions::ask(&self.target, path, self.limit).await.ok()?;
        if own_questions::is_absent(status) {
            return Some(Sources::default());
        }
        let host = self.target.endpoint().url().bare_host();
        let read = if is_sglang { of_sglang } else { of_vllm };
        Some(read(&body, host).filter(|_| status.is_success()).unwrap_or_default())
    }

    fn listen_to_loads(&mut self, target: &Arc<Target>) {
        let Some(sources) = self.sources.as_ref().filter(|sources| !sources.loads.is_empty()) else { return };
        if !self.loads.is_empty() || !self.asks_for_load || !self.roster.wants_reports() {
            return;
        }
        let board = LoadBoard::new(Arc::clone(target), sources.loads.len());
        for (position, source) in sources.loads.iter().cloned().enumerate() {
            self.loads.spawn(Arc::clone(&board).follow(position, source));
        }
        tracing::info!(worker = target.worker().url(), "pushes its load");
    }

    fn listen_to_events(&mut self, target: &Arc<Target>, known: &Known, engine: &str) {
        let Some(worker) = target.worker().indexed() else { return };
        let events = self.sources.iter().flat_map(|sources| sources.events.clone()).collect::<Vec<_>>();
        target.feed().set_sources(events.len());
        if events.is_empty() {
            if !self.is_told {
                let worker = target.worker().url();
                tracing::info!(
                    worker,
                    engine,
                    "publishes no KV events: what it holds is guessed by what was sent to it"
                );
            }
            self.is_told = true;
            return;
        }
        let names = CacheNames { models: names_of(known, engine), adapter_is_model: engine != SGLANG.name };
        if self.names.as_deref() == Some(&names) {
            return;
        }
        if self.names.is_some() {
            self.stop_events();
            self.roster.forget_prefixes(target.worker());
        }
        let names = Arc::new(names);
        let max_blocks = MAX_BLOCKS / events.len() / names.models.len().max(1);
        let feed = Arc::new(WorkerFeed {
            roster: Arc::clone(&self.roster),
            endpoint: Arc::clone(target.endpoint()),
            worker,
            ranks: events.len(),
            counts: Mutex::new(HeldCounts::new()),
            over: AtomicBool::new(false),
        });
        tracing::info!(worker = target.worker().url(), ranks = events.len(), "publishes KV events");
        for source in events {
            let chains = RankChains::new(Arc::clone(&names), self.blocks, max_blocks);
            let rank = RankFeed::new(Arc::clone(&feed), chains);
            self.events.spawn(Subscriber::new(source, rank).follow());
        }
        self.names = Some(names);
        self.feed = Some(feed);
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        if self.feed.is_some() {
            // Whoever listens next knows nothing of what was said until now.
            self.stop_events();
            self.roster.forget_prefixes(self.target.worker());
        }
    }
}

/// The engine, if it is one that publishes.
fn engine_of(target: &Target) -> Option<&'static str> {
    let name = target.worker().engine().name.as_deref()?;
    [SGLANG.name, VLLM.name].into_iter().find(|known| *known == name)
}

/// What requests call the worker's model. SGLang's own endpoint has no name for it.
fn names_of(known: &Known, engine: &str) -> Vec<String> {
    let cards = known.cards();
    let models = cards.iter().filter(|card| !card.is_adapter()).map(|card| card.id().to_owned());
    let mut names: Vec<String> = models.take(MAX_NAMES).collect();
    if names.is_empty() || engine == SGLANG.name {
        names.push(String::new());
    }
    names
}
