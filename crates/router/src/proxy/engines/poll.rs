//! Asks one worker for its load, on a clock of its own, and for who it is.
//!
//! One question at a time, each with a time limit and a limit of bytes. A worker that tells no load is asked
//! more and more rarely, but for ever: another engine may come up at its URL.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::checked::HealthSettings;
use crate::config::engine_setting::EngineSetting;
use crate::proxy::engines::adapter::{Adapter, EngineQuestion, Identity};
use crate::proxy::engines::age::ReportAge;
use crate::proxy::engines::believed_facts::BelievedFacts;
use crate::proxy::engines::catalogue;
use crate::proxy::engines::identification::{self, Identified};
use crate::proxy::engines::reading::Reading;
use crate::proxy::own_questions::{self, NoAnswer};
use crate::proxy::report_log::{ReportFailure, ReportSource};
use crate::proxy::roster::Roster;
use crate::proxy::target::Target;
use sglang_router_rs::core::{EngineFacts, Worker, WorkerReport};

/// The longest time between two questions to a worker that tells no load.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// The longest pause in which two numbers of generated tokens make a rate.
const MAX_RATE_SPAN: Duration = Duration::from_secs(60);

/// Asks in every interval while the worker passes its checks, and at once when it comes up.
///
/// # Cancel safety
///
/// Dropping the future ends the asking.
pub(crate) async fn keep(target: &Target, roster: &Roster, settings: &HealthSettings, came_up: &Notify) {
    let setting = target.own().engine;
    let interval = settings.load_interval.filter(|_| setting != EngineSetting::None);
    target.reports().set_asked(interval.is_some());
    let Some(interval) = interval else {
        let name = catalogue::of(setting)
            .filter(|_| setting != EngineSetting::None)
            .map(|adapter| adapter.name.into());
        roster.learn_engine(target.worker().url(), &EngineFacts { name, ..EngineFacts::UNKNOWN });
        target.worker().set_report(&WorkerReport::UNKNOWN);
        return std::future::pending().await;
    };
    let mut age = ReportAge::new(target, interval);
    let mut asker = Asker::new(target, roster, settings.timeout);
    let mut pause = interval;
    loop {
        if !target.is_passing() {
            age.watched(came_up.notified()).await;
            came_back(&mut age, &mut asker);
        }
        match age.watched(asker.ask()).await {
            Ok(heard) => {
                if heard.nonsense {
                    age.failed(ReportFailure::Nonsense);
                } else if heard.report.is_silent() {
                    age.failed(ReportFailure::Unreadable);
                }
                if !heard.report.is_silent() {
                    age.renew(&heard.report, heard.engine, heard.path);
                }
                pause = interval;
            }
            Err(ReportFailure::Absent) => {
                age.failed(ReportFailure::Absent);
                pause = (pause * 2).min(MAX_PAUSE.max(interval));
            }
            Err(failure) => {
                age.failed(failure);
                pause = interval;
            }
        }
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

/// Another engine may be there than before.
fn came_back(age: &mut ReportAge<'_>, asker: &mut Asker<'_>) {
    age.begin();
    asker.is_known = false;
}

/// An answer that tells of load.
struct Heard {
    report: WorkerReport,
    nonsense: bool,
    engine: &'static str,
    path: &'static str,
}

/// Asks one worker, and remembers who it is.
struct Asker<'a> {
    target: &'a Target,
    roster: &'a Roster,
    limit: Duration,
    /// By the configuration, or as it was found out.
    adapter: Option<&'static Adapter>,
    /// The engine that it was last, also while it does not say who it is.
    last: Option<&'static str>,
    /// False if the engine has to be asked who it is.
    is_known: bool,
    /// Where it told of its load last.
    path: Option<&'static str>,
    facts: BelievedFacts,
    version: Option<String>,
    generated: Option<(Instant, f64)>,
}

impl<'a> Asker<'a> {
    fn new(target: &'a Target, roster: &'a Roster, limit: Duration) -> Self {
        Self {
            target,
            roster,
            limit,
            adapter: catalogue::of(target.own().engine),
            last: None,
            is_known: false,
            path: None,
            facts: BelievedFacts::default(),
            version: None,
            generated: None,
        }
    }

    /// One round: who it is, if that is not known, and its load.
    async fn ask(&mut self) -> Result<Heard, ReportFailure> {
        let heard = self.round().await;
        if heard.is_err() {
            // Perhaps it is going, and the next one is another.
            self.is_known = false;
            self.generated = None;
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
        let fixed = catalogue::of(self.target.own().engine);
        let (found, identity) = match fixed {
            Some(adapter) => {
                (Some(adapter), identification::introduced(self.target, adapter, self.limit).await?)
            }
            None => {
                let owner = self.roster.owner(self.target.worker().url());
                match identification::identify(self.target, owner.as_deref(), self.limit).await? {
                    Some(Identified { adapter, identity }) => (Some(adapter), Some(identity)),
                    None => (None, None),
                }
            }
        };
        let is_sure = fixed.is_some() || identity.as_ref().is_some_and(|identity| identity.is_sure);
        self.is_known = true;
        self.meet(found, is_sure, identity.unwrap_or_default());
        Ok(())
    }

    /// Takes a worker for an engine of this kind; `is_sure` if nothing else has to confirm that.
    fn meet(&mut self, adapter: Option<&'static Adapter>, is_sure: bool, identity: Identity) {
        if let Some(adapter) = adapter
            && self.last.replace(adapter.name).is_some_and(|last| last != adapter.name)
        {
            self.path = None;
            self.target.reports().begin_anew();
        }
        self.adapter = adapter;
        self.version = identity.version;
        self.generated = None;
        let name = adapter.filter(|_| is_sure).map(|adapter| adapter.name.into());
        let facts = self.facts.introduce(EngineFacts { name, ..identity.facts });
        self.roster.learn_engine(self.target.worker().url(), facts);
        self.tell_source();
    }

    fn tell_source(&self) {
        self.target.reports().set_source(ReportSource { version: self.version.clone(), path: self.path });
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
            own_questions::ask(self.target, question.path, self.limit).await.map_err(failure)?;
        Ok(if own_questions::is_absent(status) {
            Err(ReportFailure::Absent)
        } else if !status.is_success() {
            Err(ReportFailure::Status)
        } else {
            (question.read)(&body).ok_or(ReportFailure::Unreadable)
        })
    }

    fn hear(&mut self, adapter: &'static Adapter, path: &'static str, reading: Reading) -> Heard {
        if !self.facts.is_named() {
            // What it tells says who it is.
            let identity = Identity { version: self.version.take(), ..Identity::default() };
            self.meet(Some(adapter), true, identity);
        }
        if self.path != Some(path) {
            self.path = Some(path);
            self.tell_source();
        }
        let facts = self.facts.hear(&reading.facts());
        self.roster.learn_engine(self.target.worker().url(), facts);
        let mut report = reading.report();
        if report.throughput.is_nan() {
            report.throughput = self.rate(reading.generated());
        }
        Heard { report, nonsense: reading.nonsense, engine: adapter.name, path }
    }

    /// Tokens a second since the report before; NaN if that cannot be told.
    #[expect(clippy::cast_possible_truncation, reason = "half the digits are plenty for a gauge")]
    fn rate(&mut self, generated: Option<f64>) -> f32 {
        let now = Instant::now();
        let before = std::mem::replace(&mut self.generated, generated.map(|count| (now, count)));
        let (Some((then, before)), Some(count)) = (before, generated) else { return f32::NAN };
        let span = now - then;
        // An engine that began anew counts from 0.
        if count < before || span.is_zero() || span > MAX_RATE_SPAN {
            return f32::NAN;
        }
        ((count - before) / span.as_secs_f64()) as f32
    }
}

fn failure(unanswered: NoAnswer) -> ReportFailure {
    match unanswered {
        NoAnswer::Unreachable => ReportFailure::Unreachable,
        NoAnswer::Timeout => ReportFailure::Timeout,
        NoAnswer::Unusable => ReportFailure::Unreadable,
    }
}
