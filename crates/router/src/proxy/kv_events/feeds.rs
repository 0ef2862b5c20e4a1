//! Keeps the feeds of one worker: finds out what it publishes, listens, and begins anew with it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::checked::{HealthSettings, OwnSettings};
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::sglang::SGLANG;
use crate::proxy::engines::vllm::VLLM;
use crate::proxy::kv_events::cache_names::CacheNames;
use crate::proxy::kv_events::event_source::{EventSource, Sources, of_sglang, of_vllm};
use crate::proxy::kv_events::held_blocks_change::OtherHolders;
use crate::proxy::kv_events::load_board::LoadBoard;
use crate::proxy::kv_events::rank_chains::RankChains;
use crate::proxy::kv_events::rank_feed::{RankFeed, WorkerFeed};
use crate::proxy::kv_events::subscriber::Subscriber;
use crate::proxy::models::Known;
use crate::proxy::own_questions;
use crate::proxy::roster::Roster;
use crate::proxy::target::Target;
use sglang_router_rs::core::Worker;
use sglang_router_rs::prefix_index::{IndexedWorker, PrefixIndex};
use sglang_router_rs::types::PrefixBlocks;

/// How often it is looked whether there is something new to listen to.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks an engine is asked again, if not all that it publishes is heard: at first, and, twice as
/// many each time, at most.
const LOOKS_UNHEARD: (u32, u32) = (2, 120);

/// Blocks of its engine that a worker's ranks remember, in the index or beside it: beside it each is 25 bytes of a
/// table that is half full or more, and all workers together have half of what the index may take.
const MAX_BLOCKS: usize = 1 << 21;

/// Names of a model under which its blocks are entered.
const MAX_NAMES: usize = 4;

/// Listens to a worker for as long as it is polled.
///
/// # Cancel safety
///
/// Dropping the future ends the listening.
pub(crate) async fn keep(
    endpoint: &Arc<Endpoint>,
    own: OwnSettings,
    roster: &Arc<Roster>,
    settings: &HealthSettings,
    blocks: PrefixBlocks,
    came_up: &Notify,
) {
    if !own.kv_events {
        return std::future::pending().await;
    }
    let mut feeds = Feeds::new(endpoint, roster, settings, blocks);
    loop {
        tokio::select! {
            biased;
            () = came_up.notified() => feeds.begin_anew(),
            () = sleep(own_questions::jittered(LOOK)) => {}
        }
        if feeds.heed() && endpoint.is_passing() {
            feeds.look().await;
        }
    }
}

/// The rank of a candidate, `None` if it is all of a worker, and its place in the index.
type Listener = (Option<u32>, IndexedWorker);

struct Feeds {
    endpoint: Arc<Endpoint>,
    url: String,
    roster: Arc<Roster>,
    limit: Duration,
    asks_for_load: bool,
    blocks: PrefixBlocks,
    /// What it publishes; `None` if it was not asked since it came up.
    sources: Option<Sources>,
    /// Which engine answered.
    engine: Option<&'static str>,
    /// In which ranks it was laid out when it was looked at last.
    ranks: Vec<Option<u32>>,
    /// The names with which it is listened to; `None` if it is not.
    names: Option<Arc<CacheNames>>,
    /// For whom: a rank each, or all of the worker.
    listeners: Vec<Listener>,
    /// One for each of these.
    feeds: Vec<Arc<WorkerFeed>>,
    events: JoinSet<()>,
    loads: JoinSet<()>,
    unheard: u32,
    patience: u32,
    /// How often it had been found dead when it was listened to.
    deaths: u64,
    /// Whether the log says that it publishes nothing.
    is_told: bool,
    /// Whether the log says that some of it cannot be read.
    is_odd_told: bool,
}

impl Feeds {
    /// Nothing is known of the worker yet.
    fn new(
        endpoint: &Arc<Endpoint>,
        roster: &Arc<Roster>,
        settings: &HealthSettings,
        blocks: PrefixBlocks,
    ) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            url: endpoint.url().to_string(),
            roster: Arc::clone(roster),
            limit: settings.timeout,
            asks_for_load: settings.load_interval.is_some(),
            blocks,
            sources: None,
            engine: None,
            ranks: Vec::new(),
            names: None,
            listeners: Vec::new(),
            feeds: Vec::new(),
            events: JoinSet::new(),
            loads: JoinSet::new(),
            unheard: 0,
            patience: LOOKS_UNHEARD.0,
            deaths: endpoint.deaths(),
            is_told: false,
            is_odd_told: false,
        }
    }

    /// Stops listening to what nobody wants to know any more, and forgets what was said of it. False if nobody
    /// wants to know anything.
    fn heed(&mut self) -> bool {
        let wants_events = self.roster.has_prefix_index();
        let wants_loads = self.asks_for_load && self.roster.wants_reports();
        if !wants_loads && !self.loads.is_empty() {
            self.loads = JoinSet::new();
            tracing::info!(worker = self.url, "what it pushes of its load is not listened to any more");
        }
        let is_other = || listeners(&self.roster.targets(&self.url)).as_ref() != Some(&self.listeners);
        if !self.feeds.is_empty() && is_other() {
            tracing::info!(worker = self.url, "its KV events are not listened to any more");
            self.stop_events();
            self.roster.forget_prefixes(&self.url);
            self.endpoint.feed().set_sources(0);
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
        (self.is_told, self.is_odd_told) = (false, false);
        self.loads = JoinSet::new();
        self.stop_events();
        self.roster.forget_prefixes(&self.url);
    }

    fn stop_events(&mut self) {
        self.events = JoinSet::new();
        self.feeds.drain(..).for_each(|feed| feed.end());
        self.names = None;
    }

    async fn look(&mut self) {
        let Some((targets, known)) = self.roster.find(&self.url) else { return };
        let Some(engine) = targets.first().and_then(|target| engine_of(target)) else { return };
        // The index has forgotten it then, too.
        let deaths = self.endpoint.deaths();
        if std::mem::replace(&mut self.deaths, deaths) != deaths {
            self.begin_anew();
        }
        let ranks: Vec<_> = targets.iter().map(|target| target.rank_number()).collect();
        if std::mem::replace(&mut self.ranks, ranks.clone()) != ranks {
            // It publishes elsewhere, too, or no longer.
            self.sources = None;
            self.loads = JoinSet::new();
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
        self.listen_to_loads();
        self.listen_to_events(&targets, &known, engine);
    }

    /// Asks again now and then where something is not heard.
    fn tire(&mut self) {
        let log = self.endpoint.feed();
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
        let (status, body) = own_questions::ask(&self.endpoint, path, self.limit).await.ok()?;
        if own_questions::is_absent(status) {
            return Some(Sources::default());
        }
        let host = self.endpoint.url().bare_host();
        let read = if is_sglang { of_sglang } else { of_vllm };
        Some(read(&body, host).filter(|_| status.is_success()).unwrap_or_default())
    }

    fn listen_to_loads(&mut self) {
        let Some(sources) = self.sources.as_ref().filter(|sources| !sources.loads.is_empty()) else { return };
        if !self.loads.is_empty() || !self.asks_for_load || !self.roster.wants_reports() {
            return;
        }
        let board = LoadBoard::new(Arc::clone(&self.endpoint), Arc::clone(&self.roster), sources.loads.len());
        for (position, source) in sources.loads.iter().cloned().enumerate() {
            self.loads.spawn(Arc::clone(&board).follow(position, source));
        }
        tracing::info!(worker = self.url, "pushes its load");
    }

    fn listen_to_events(&mut self, targets: &[Arc<Target>], known: &Known, engine: &str) {
        let Some(listeners) = listeners(targets) else { return };
        // It may have ended just now.
        let Some(index) = self.roster.prefix_index() else { return };
        let events = self.sources.iter().flat_map(|sources| sources.events.clone()).collect::<Vec<_>>();
        self.endpoint.feed().set_sources(events.len());
        if let Some(sources) = self.sources.as_ref().filter(|_| !self.is_odd_told) {
            self.is_odd_told = sources.warn_of_unreadable(&self.url, engine);
        }
        if events.is_empty() {
            return self.tell_silence(engine);
        }
        let names = CacheNames { models: names_of(known, engine), adapter_is_model: engine != SGLANG.name };
        if self.names.as_deref() == Some(&names) && self.listeners == listeners {
            return;
        }
        if self.names.is_some() {
            self.stop_events();
            self.roster.forget_prefixes(&self.url);
        }
        tracing::info!(worker = self.url, ranks = events.len(), "publishes KV events");
        let names = Arc::new(names);
        for listener in &listeners {
            let is_own = |source: &EventSource| listener.0.is_none_or(|rank| source.rank == rank);
            let own: Vec<EventSource> = events.iter().filter(|source| is_own(source)).cloned().collect();
            self.listen(*listener, own, &names, events.len(), &index);
        }
        self.names = Some(names);
        self.listeners = listeners;
    }

    /// Listens to what one candidate publishes; `all` is how many sockets there are together.
    fn listen(
        &mut self,
        listener: Listener,
        own: Vec<EventSource>,
        names: &Arc<CacheNames>,
        all: usize,
        index: &Arc<PrefixIndex>,
    ) {
        let max_blocks = MAX_BLOCKS / all / names.models.len().max(1);
        let feed = Arc::new(WorkerFeed {
            roster: Arc::clone(&self.roster),
            endpoint: Arc::clone(&self.endpoint),
            worker: listener.1,
            ranks: own.len(),
            others: Mutex::new(OtherHolders::new()),
            over: AtomicBool::new(false),
        });
        for source in own {
            let chains = RankChains::new(Arc::clone(names), self.blocks, max_blocks, index);
            let rank = RankFeed::new(Arc::clone(&feed), source.rank, chains);
            self.events.spawn(Subscriber::new(source, rank).follow());
        }
        self.feeds.push(feed);
    }

    fn tell_silence(&mut self, engine: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            let worker = &self.url;
            tracing::info!(
                worker,
                engine,
                "publishes no KV events: what it holds is guessed by what was sent to it"
            );
        }
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        if !self.feeds.is_empty() {
            // Whoever listens next knows nothing of what was said until now.
            self.stop_events();
            self.roster.forget_prefixes(&self.url);
        }
    }
}

/// The candidates of a worker; `None` if one of them has no place in the index.
fn listeners(targets: &[Arc<Target>]) -> Option<Vec<Listener>> {
    targets.iter().map(|target| Some((target.rank_number(), target.worker().indexed()?))).collect()
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

#[cfg(test)]
mod tests {
    use crate::config::check::{Surroundings, check};
    use crate::config::router::RouterConfig;
    use crate::config::worker_entry::WorkerEntry;
    use crate::proxy::queue::RequestQueue;
    use crate::proxy::rank::{RankFields, RankLayout};
    use sgl_upstream::{Address, WorkerUrl};
    use sglang_router_rs::core::{EngineFacts, WorkerSpec};
    use sglang_router_rs::policies::NativePolicy;

    use super::*;

    #[tokio::test]
    async fn engine_is_asked_again_where_it_publishes_once_it_has_other_ranks() {
        let surroundings =
            Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() };
        let settings = check(RouterConfig::default(), surroundings).unwrap().proxy;
        let queue = RequestQueue::new(settings.queue, 0);
        let roster = Arc::new(Roster::new(false, settings.requests.prefix_index, Arc::clone(&queue)));
        // Nobody answers there.
        let url = "http://127.0.0.1:1";
        let endpoint = Endpoint::new(Address::new(WorkerUrl::parse(url).unwrap()), &settings, true, &queue);
        let own = settings.of_worker(&WorkerEntry { url: url.to_owned(), ..WorkerEntry::default() });
        roster.add(WorkerSpec::new(url.to_owned()), true, own, &endpoint).unwrap();
        roster.learn_engine(url, |_| EngineFacts { name: Some(SGLANG.name.into()), ..EngineFacts::UNKNOWN });
        let mut feeds = Feeds::new(&endpoint, &roster, &settings.health, settings.requests.prefix);
        let mut knows_after_look = async |count: u32| {
            let layout = RankLayout { count, fields: RankFields::Routed };
            roster.lay_out(url, (count > 1).then_some(layout));
            // All is heard.
            feeds.unheard = 0;
            (feeds.engine, feeds.sources) = (Some(SGLANG.name), Some(Sources::default()));
            feeds.loads.spawn(std::future::pending());
            feeds.look().await;
            (feeds.sources.is_some(), !feeds.loads.is_empty())
        };
        for (count, knows) in [(1, false), (1, true), (3, false), (3, true), (2, false), (1, false)] {
            assert_eq!(knows_after_look(count).await, (knows, knows), "{count}");
        }
    }
}
