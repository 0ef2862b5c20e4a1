//! Asks one worker for its load, on a clock of its own, and for who it is.
//!
//! One question at a time, each with a time limit and a limit of bytes. A worker that tells no load is asked
//! more and more rarely, but for ever: another engine may come up at its URL.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::checked::{HealthSettings, OwnSettings, RankSetting};
use crate::config::engine_setting::EngineSetting;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::adapter::{Adapter, EngineQuestion, Identity, RankCount};
use crate::proxy::engines::age::ReportAge;
use crate::proxy::engines::believed_facts::EngineBeliefs;
use crate::proxy::engines::catalogue;
use crate::proxy::engines::identification;
use crate::proxy::engines::rank_learner::RankLearner;
use crate::proxy::engines::reading::Reading;
use crate::proxy::own_questions::{self, NoAnswer};
use crate::proxy::report_log::{ReportFailure, ReportSource};
use crate::proxy::roster::Roster;
use sglang_router_rs::core::{EngineFacts, WorkerReport};

/// The longest time between two questions to a worker that tells no load.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// How often a worker is asked how many ranks it has that is asked for nothing else.
const RANKS_INTERVAL: Duration = Duration::from_secs(30);

/// The longest pause in which two numbers of generated tokens make a rate.
const MAX_RATE_SPAN: Duration = Duration::from_secs(60);

/// Asks in every interval while the worker passes its checks, and at once when it comes up.
///
/// # Cancel safety
///
/// Dropping the future ends the asking.
pub(crate) async fn keep(
    endpoint: &Endpoint,
    own: OwnSettings,
    roster: &Roster,
    ranks: &RankLearner<'_>,
    settings: &HealthSettings,
    came_up: &Notify,
) {
    let url = endpoint.url().to_string();
    let interval = settings.load_interval.filter(|_| own.engine != EngineSetting::None);
    endpoint.reports().set_asked(interval.is_some());
    let Some(interval) = interval else {
        let name = catalogue::of(own.engine)
            .filter(|_| own.engine != EngineSetting::None)
            .map(|adapter| adapter.name.into());
        roster.learn_engine(&url, |_| EngineFacts { name: name.clone(), ..EngineFacts::UNKNOWN });
        roster.report(&url, |_| WorkerReport::UNKNOWN);
        return learn_ranks(endpoint, ranks, came_up).await;
    };
    let mut age = ReportAge::new(endpoint, roster, interval);
    let mut asker = Asker::new(endpoint, own, roster, ranks, settings.timeout);
    let mut pause = interval;
    loop {
        if !endpoint.is_passing() {
            age.watched(came_up.notified()).await;
            came_back(&mut age, &mut asker);
        }
        let heard = age.watched(asker.ask()).await;
        pause = noted(&mut age, heard, pause, interval);
        let waited = async {
            tokio::select! {
                () = came_up.notified() => true,
                () = tokio::time::sleep(own_questions::jittered(pause)) => false,
            }
        };
        if age.watched(waited).await {
            came_back(&mut age, &mut asker);
            pause = interval;
        }
    }
}

/// Notes what a question brought, the last `pause` after the one before. How long it is to the next.
fn noted(
    age: &mut ReportAge<'_>,
    heard: Result<Heard, ReportFailure>,
    pause: Duration,
    interval: Duration,
) -> Duration {
    match heard {
        Ok(heard) => {
            let is_silent = heard.reading.report().is_silent();
            if heard.reading.nonsense {
                age.failed(ReportFailure::Nonsense);
            } else if is_silent {
                age.failed(ReportFailure::Unreadable);
            }
            if !is_silent {
                age.renew(&heard.reading, heard.engine, heard.path);
            }
            interval
        }
        Err(failure) => {
            age.failed(failure);
            let rarer = (pause * 2).min(MAX_PAUSE.max(interval));
            if failure == ReportFailure::Absent { rarer } else { interval }
        }
    }
}

/// Asks a worker that is asked for nothing else how many ranks it has.
async fn learn_ranks(endpoint: &Endpoint, ranks: &RankLearner<'_>, came_up: &Notify) {
    if !ranks.asks() {
        return std::future::pending().await;
    }
    loop {
        if endpoint.is_passing() {
            ranks.learn().await;
        }
        tokio::select! {
            () = came_up.notified() => {}
            () = tokio::time::sleep(own_questions::jittered(RANKS_INTERVAL)) => {}
        }
    }
}

/// Another engine may be there than before.
fn came_back(age: &mut ReportAge<'_>, asker: &mut Asker<'_>) {
    age.begin();
    asker.is_known = false;
}

/// An answer that tells of load.
struct Heard {
    reading: Reading,
    engine: &'static str,
    path: &'static str,
}

/// Asks one worker, and remembers who it is.
struct Asker<'a> {
    endpoint: &'a Endpoint,
    url: String,
    own: OwnSettings,
    roster: &'a Roster,
    ranks: &'a RankLearner<'a>,
    limit: Duration,
    /// By the configuration, or as it was found out.
    adapter: Option<&'static Adapter>,
    /// The engine that it was last, also while it does not say who it is.
    last: Option<&'static str>,
    /// False if the engine has to be asked who it is.
    is_known: bool,
    /// How many ranks the last answer told of, if it is laid out in another number of them.
    other_count: Option<u32>,
    /// For which of these numbers it was asked how many it has.
    was_asked_for: Option<u32>,
    /// Where it told of its load last.
    path: Option<&'static str>,
    facts: EngineBeliefs,
    version: Option<String>,
    /// By ranks.
    generated: HashMap<u32, (Instant, f64)>,
}

impl<'a> Asker<'a> {
    fn new(
        endpoint: &'a Endpoint,
        own: OwnSettings,
        roster: &'a Roster,
        ranks: &'a RankLearner<'a>,
        limit: Duration,
    ) -> Self {
        Self {
            endpoint,
            url: endpoint.url().to_string(),
            own,
            roster,
            ranks,
            limit,
            adapter: catalogue::of(own.engine),
            last: None,
            is_known: false,
            other_count: None,
            was_asked_for: None,
            path: None,
            facts: EngineBeliefs::default(),
            version: None,
            generated: HashMap::new(),
        }
    }

    /// One round: who it is, if that is not known, and its load.
    async fn ask(&mut self) -> Result<Heard, ReportFailure> {
        let heard = self.round().await;
        if heard.is_err() {
            // Perhaps it is going, and the next one is another.
            self.is_known = false;
            self.generated.clear();
        }
        // Sooner than by its checks, which are further apart.
        let is_there = !matches!(heard, Err(ReportFailure::Unreachable));
        if self.endpoint.checked(is_there).await {
            self.roster.died(&self.url);
        }
        heard
    }

    async fn round(&mut self) -> Result<Heard, ReportFailure> {
        if !self.is_known {
            self.identify().await.map_err(failure)?;
        }
        match self.adapter {
            Some(adapter) if self.facts.is_named() => self.load(adapter).await,
            // It may tell of its load though it does not say for sure who it is.
            _ => self.any_load().await,
        }
    }

    async fn identify(&mut self) -> Result<(), NoAnswer> {
        let owner = self.roster.owner(&self.url);
        let (setting, limit) = (self.own.engine, self.limit);
        let (found, identity) =
            identification::introduce(self.endpoint, setting, owner.as_deref(), limit).await?;
        let is_sure = setting != EngineSetting::Auto || identity.as_ref().is_some_and(|who| who.is_sure);
        let identity = identity.unwrap_or_default();
        self.ranks.settle(found, &identity).await;
        self.is_known = true;
        self.meet(found, is_sure, identity);
        Ok(())
    }

    /// Takes a worker for an engine of this kind; `is_sure` if nothing else has to confirm that.
    fn meet(&mut self, adapter: Option<&'static Adapter>, is_sure: bool, identity: Identity) {
        if let Some(adapter) = adapter
            && self.last.replace(adapter.name).is_some_and(|last| last != adapter.name)
        {
            self.path = None;
            self.endpoint.reports().begin_anew();
        }
        self.adapter = adapter;
        self.version = identity.version;
        self.generated.clear();
        let name = adapter.filter(|_| is_sure).map(|adapter| adapter.name.into());
        self.facts.introduce(EngineFacts { name, ..identity.facts });
        self.tell_facts();
        self.tell_source();
    }

    fn tell_source(&self) {
        self.endpoint.reports().set_source(ReportSource { version: self.version.clone(), path: self.path });
    }

    fn tell_facts(&mut self) {
        let count = self.roster.layout(&self.url).map_or(1, |layout| layout.count);
        self.facts.divide(count);
        self.roster.learn_engine(&self.url, |rank| self.facts.of(rank));
    }

    /// The load of an engine of this kind, at the path that is known, then at the others.
    async fn load(&mut self, adapter: &'static Adapter) -> Result<Heard, ReportFailure> {
        let is_first = |question: &&EngineQuestion<Reading>| Some(question.path) == self.path;
        let first = adapter.loads.iter().filter(is_first);
        let order: Vec<_> =
            first.chain(adapter.loads.iter().filter(|question| !is_first(question))).collect();
        let mut worst = ReportFailure::Absent;
        for question in order {
            match self.answer(question).await? {
                Ok(reading) => return Ok(self.hear(adapter, question.path, reading)),
                Err(ReportFailure::Absent) => {}
                Err(failure) => worst = failure,
            }
        }
        Err(worst)
    }

    /// The load in the form of whichever engine it has.
    async fn any_load(&mut self) -> Result<Heard, ReportFailure> {
        let mut worst = ReportFailure::Absent;
        for adapter in catalogue::ALL {
            match self.load(adapter).await {
                Ok(heard) => return Ok(heard),
                Err(ReportFailure::Absent) => {}
                // Several engines have a path of this name.
                Err(ReportFailure::Unreadable) => worst = ReportFailure::Unreadable,
                Err(failure) => return Err(failure),
            }
        }
        Err(worst)
    }

    /// The outer failure ends the round, the inner one leaves other paths.
    async fn answer(
        &self,
        question: &EngineQuestion<Reading>,
    ) -> Result<Result<Reading, ReportFailure>, ReportFailure> {
        let (status, body) =
            own_questions::ask(self.endpoint, question.path, self.limit).await.map_err(failure)?;
        Ok(if own_questions::is_absent(status) {
            Err(ReportFailure::Absent)
        } else if !status.is_success() {
            Err(ReportFailure::Status)
        } else {
            (question.read)(&body).ok_or(ReportFailure::Unreadable)
        })
    }

    fn hear(&mut self, adapter: &'static Adapter, path: &'static str, mut reading: Reading) -> Heard {
        if !self.facts.is_named() {
            // What it tells says who it is.
            let identity = Identity { version: self.version.take(), ..Identity::default() };
            self.meet(Some(adapter), true, identity);
        }
        if self.path != Some(path) {
            self.path = Some(path);
            self.tell_source();
        }
        self.compare(&mut reading);
        self.facts.hear(&reading);
        self.tell_facts();
        self.fill_rates(&mut reading);
        Heard { reading, engine: adapter.name, path }
    }

    /// Two answers in a row that tell of other ranks than the worker is laid out in are a reason to ask.
    fn compare(&mut self, reading: &mut Reading) {
        if self.own.ranks == RankSetting::Together {
            return;
        }
        let laid_out = self.roster.layout(&self.url).map_or(1, |layout| layout.count);
        let told = RankCount::among(reading);
        reading.nonsense |= told == RankCount::Nonsense;
        let RankCount::Known(count) = told else { return };
        if count == laid_out {
            (self.other_count, self.was_asked_for) = (None, None);
        } else if self.other_count.replace(count) == Some(count) && self.was_asked_for != Some(count) {
            // Once: an answer about one rank may stand for all of them.
            self.was_asked_for = Some(count);
            self.is_known = false;
        }
    }

    /// Where a rank tells no rate: tokens a second since the report before, if that can be told.
    #[expect(clippy::cast_possible_truncation, reason = "half the digits are plenty for a gauge")]
    fn fill_rates(&mut self, reading: &mut Reading) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.generated);
        let mut began_anew = false;
        for rank in &mut reading.ranks {
            let Some(count) = rank.generated.filter(|_| rank.throughput.is_none()) else { continue };
            self.generated.insert(rank.rank, (now, count));
            let Some((then, before)) = before.get(&rank.rank) else { continue };
            let span = now - *then;
            // An engine that began anew counts from 0: it was gone between two questions.
            began_anew |= count < *before;
            if count >= *before && !span.is_zero() && span <= MAX_RATE_SPAN {
                rank.throughput = Some(((count - before) / span.as_secs_f64()) as f32);
            }
        }
        if began_anew {
            self.roster.forget_prefixes(&self.url);
        }
    }
}

fn failure(unanswered: NoAnswer) -> ReportFailure {
    match unanswered {
        NoAnswer::Unreachable => ReportFailure::Unreachable,
        NoAnswer::Timeout => ReportFailure::Timeout,
        NoAnswer::Unusable => ReportFailure::Unreadable,
    }
}
