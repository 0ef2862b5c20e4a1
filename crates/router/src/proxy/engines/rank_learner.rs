//! Learns from one worker how many data-parallel ranks it has, where they are candidates of their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::checked::{OwnSettings, RankSetting};
use crate::config::engine_setting::EngineSetting;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::adapter::{Adapter, EngineQuestion, Identity, RankCount};
use crate::proxy::engines::{catalogue, identification};
use crate::proxy::own_questions;
use crate::proxy::own_questions::NoAnswer;
use crate::proxy::rank::{RankFields, RankLayout};
use crate::proxy::report_log::ReportFailure;
use crate::proxy::roster::Roster;

/// How long a worker that comes up may keep its own start waiting by not answering.
const START_LIMIT: Duration = Duration::from_secs(2);

/// The layout that holds before the engine was asked; `None` if it has to be.
pub(crate) fn given_layout(own: OwnSettings) -> Option<Option<RankLayout>> {
    match own.ranks {
        RankSetting::Together => Some(None),
        RankSetting::Asked => None,
        RankSetting::Fixed(count) => {
            let known = catalogue::of(own.engine).and_then(|adapter| adapter.rank_fields);
            let fields = known.map_or(RankFields::Both, |fields| fields(None));
            Some(layout(count, fields))
        }
    }
}

/// One rank is all of a worker.
fn layout(count: u32, fields: RankFields) -> Option<RankLayout> {
    (count > 1).then_some(RankLayout { count, fields })
}

/// Asks a worker for its ranks and tells the roster.
#[derive(Debug)]
pub(crate) struct RankLearner<'a> {
    endpoint: &'a Endpoint,
    own: OwnSettings,
    roster: &'a Roster,
    limit: Duration,
    is_odd: OddRanks,
}

/// Whether a worker told last of ranks that cannot be: it may do so each time that it is asked, and the log says
/// it once.
#[derive(Debug, Default)]
struct OddRanks(AtomicBool);

impl OddRanks {
    /// It tells of so many. True if the log is to say so.
    fn is_news(&self, count: RankCount) -> bool {
        // Relaxed: at worst the log says it twice.
        match count {
            RankCount::Nonsense => !self.0.swap(true, Ordering::Relaxed),
            RankCount::Known(_) => {
                self.0.store(false, Ordering::Relaxed);
                false
            }
            RankCount::Unknown => false,
        }
    }
}

impl<'a> RankLearner<'a> {
    /// A learner that has not asked yet; a question may take this long.
    pub(crate) fn new(endpoint: &'a Endpoint, own: OwnSettings, roster: &'a Roster, limit: Duration) -> Self {
        Self { endpoint, own, roster, limit, is_odd: OddRanks::default() }
    }

    /// True if the worker is asked how many it has.
    pub(crate) fn asks(&self) -> bool {
        self.own.ranks == RankSetting::Asked && self.own.engine != EngineSetting::None
    }

    /// Asks once, before the worker may be chosen: a request for a rank that is gone would be refused.
    ///
    /// # Cancel safety
    ///
    /// Nothing is learnt then.
    pub(crate) async fn learn_at_start(&self) {
        if self.asks() {
            // Who does not answer in time is asked again with the questions for its load.
            let _ = tokio::time::timeout(self.limit.min(START_LIMIT), self.learn()).await;
        }
    }

    /// Asks who it is, and how many ranks it has.
    ///
    /// # Cancel safety
    ///
    /// Nothing is learnt then.
    pub(crate) async fn learn(&self) {
        let owner = self.roster.owner(&self.endpoint.url().to_string());
        let found =
            identification::introduce(self.endpoint, self.own.engine, owner.as_deref(), self.limit).await;
        if let Ok((adapter, identity)) = found {
            self.settle(adapter, &identity.unwrap_or_default()).await;
        }
    }

    /// The worker has said who it is: lays it out as that engine has ranks. What is not known stays as it was.
    ///
    /// # Cancel safety
    ///
    /// Nothing is learnt then.
    pub(crate) async fn settle(&self, adapter: Option<&Adapter>, identity: &Identity) {
        let Some(adapter) = adapter.filter(|_| self.own.ranks != RankSetting::Together) else { return };
        let url = self.endpoint.url().to_string();
        let Some(fields) = adapter.rank_fields else { return self.roster.lay_out(&url, None) };
        let count = match (self.own.ranks, identity.ranks) {
            (RankSetting::Fixed(count), _) => RankCount::Known(count),
            (_, RankCount::Unknown) => self.count(adapter).await,
            (_, told) => told,
        };
        let is_news = self.is_odd.is_news(count);
        match count {
            RankCount::Known(count) => {
                self.roster.lay_out(&url, layout(count, fields(identity.version.as_deref())));
            }
            RankCount::Nonsense => {
                self.endpoint.reports().failed(ReportFailure::Nonsense);
                if is_news {
                    tracing::warn!(worker = url, "tells of ranks that cannot be: it is laid out as before");
                }
            }
            RankCount::Unknown => {
                tracing::debug!(worker = url, engine = adapter.name, "does not tell how many ranks it has");
            }
        }
    }

    async fn count(&self, adapter: &Adapter) -> RankCount {
        for question in adapter.rank_counts {
            if let Ok(Some(count)) = self.answer(question).await {
                return count;
            }
        }
        RankCount::Unknown
    }

    async fn answer(&self, question: &EngineQuestion<RankCount>) -> Result<Option<RankCount>, NoAnswer> {
        let (status, body) = own_questions::ask(self.endpoint, question.path, self.limit).await?;
        Ok((question.read)(&body).filter(|_| status.is_success()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_says_once_that_ranks_cannot_be_until_they_can() {
        let odd = OddRanks::default();
        let told = [
            (RankCount::Known(2), false),
            (RankCount::Nonsense, true),
            (RankCount::Nonsense, false),
            (RankCount::Unknown, false),
            (RankCount::Nonsense, false),
            (RankCount::Known(2), false),
            (RankCount::Nonsense, true),
        ];
        for (at, (count, expected)) in told.into_iter().enumerate() {
            assert_eq!(odd.is_news(count), expected, "{at}");
        }
    }
}
