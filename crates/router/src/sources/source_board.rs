//! All sources of a router, as operators and metrics see them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::{Families, Metrics, catalogue};
use crate::proxy::source_reports::SourceReport;
use crate::sources::membership::Membership;
use crate::sources::scope::Scope;
use sgl_api::{SourceList, SourceMemberView, SourceView};

/// All sources of a router.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceBoard(Vec<Arc<Mutex<Membership>>>);

impl SourceBoard {
    /// Of these, whose numbers are told at each scrape.
    pub(crate) fn new(sources: Vec<Arc<Mutex<Membership>>>, metrics: &Metrics) -> Self {
        let board = Self(sources);
        let told = board.clone();
        metrics.register(move |families| told.tell(families));
        board
    }

    /// As they are now.
    pub(crate) fn view(&self) -> SourceList {
        let mut sources = Vec::new();
        for members in &self.0 {
            let members = members.lock();
            let of = |(name, scope): (&String, &Scope)| view(members.source().as_str(), name, scope);
            sources.extend(members.scopes().iter().map(of));
        }
        SourceList { sources }
    }

    /// The same for readiness.
    pub(crate) fn reports(&self) -> Vec<SourceReport> {
        let mut reports = Vec::new();
        self.each(|source, _, scope| {
            reports.push(SourceReport {
                source: source.to_owned(),
                state: state_of(scope).to_owned(),
                age_ms: scope.answered.map(|answered| ms(answered.elapsed())),
                held: scope.missing.len(),
            });
        });
        reports
    }

    fn tell(&self, families: &mut Families) {
        let workers = families.family(&catalogue::SOURCE_WORKERS);
        self.each(|source, name, scope| {
            for (state, count) in scope.counts() {
                #[expect(clippy::cast_precision_loss, reason = "there are not that many workers")]
                workers.gauge(&[source, name, state], count as f64);
            }
        });
        let ages = families.family(&catalogue::SOURCE_AGE);
        self.each(|source, name, scope| {
            if let Some(answered) = scope.answered {
                ages.gauge(&[source, name], answered.elapsed().as_secs_f64());
            }
        });
        let failures = families.family(&catalogue::SOURCE_FAILURES);
        self.each(|source, name, scope| {
            for (cause, count) in &scope.failures {
                failures.count(&[source, name, cause], *count);
            }
        });
    }

    fn each(&self, mut tell: impl FnMut(&str, &str, &Scope)) {
        for members in &self.0 {
            let members = members.lock();
            members.scopes().iter().for_each(|(name, scope)| tell(members.source().as_str(), name, scope));
        }
    }
}

fn state_of(scope: &Scope) -> &'static str {
    match (&scope.fault, scope.held_until, scope.answered) {
        (Some(_), _, _) => "failing",
        (None, _, None) => "waiting",
        (None, Some(_), _) => "holding",
        (None, None, Some(_)) => "current",
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn view(source: &str, name: &str, scope: &Scope) -> SourceView {
    let members = scope.members.iter().map(|(id, member)| SourceMemberView {
        id: id.clone(),
        url: member.offer.entry.url.clone(),
        state: member.state(scope.missing.contains(id)).to_owned(),
    });
    SourceView {
        source: source.to_owned(),
        name: name.to_owned(),
        state: state_of(scope).to_owned(),
        age_ms: scope.answered.map(|answered| ms(answered.elapsed())),
        fault: scope.fault.as_ref().map(|(_, text)| text.clone()),
        held_ms: scope.held_until.map(|until| ms(until.saturating_duration_since(Instant::now()))),
        members: members.collect(),
    }
}
