//! What a source says, turned into changes of the fleet.
//!
//! - Nothing that a source fails to say takes a worker away: a failure changes nothing.
//! - Only what was never added is added, so that no list brings back what an operator has removed.
//! - Only what a source says anew changes a worker, so that an operator's own change lives through lists.
//! - A list without more than half of the workers that it had is held: they serve on for a time, but for
//!   those whose checks fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::worker_source::WorkerSource;
use crate::proxy::succession::Succession;
use crate::proxy::{AddError, Backends};
use crate::sources::offer::{Offer, OfferedState};
use crate::sources::scope::Scope;
use crate::sources::source_member::{MemberPlace, SourceMember};

/// All that one source has told of.
#[derive(Debug)]
pub(crate) struct Membership {
    source: WorkerSource,
    hold: Duration,
    backends: Arc<Backends>,
    scopes: BTreeMap<String, Scope>,
}

impl Membership {
    /// Of a source with these scopes, none of which was answered yet. `hold` is for how long workers serve on
    /// that are missing in a list together with many others.
    pub(crate) fn new(
        source: WorkerSource,
        hold: Duration,
        backends: Arc<Backends>,
        scopes: impl IntoIterator<Item = String>,
    ) -> Self {
        let scopes = scopes.into_iter().map(|name| (name, Scope::default())).collect();
        Self { source, hold, backends, scopes }
    }

    /// Which source it is.
    pub(crate) fn source(&self) -> WorkerSource {
        self.source
    }

    /// Its scopes, by their names.
    pub(crate) fn scopes(&self) -> &BTreeMap<String, Scope> {
        &self.scopes
    }

    /// These and no others are the workers now.
    pub(crate) fn list(&mut self, name: &str, offers: BTreeMap<String, Offer>) {
        let Some(mut scope) = self.answered(name) else { return };
        let before = scope.ours().count();
        let listed: BTreeSet<String> = offers.keys().cloned().collect();
        let backends = Arc::clone(&self.backends);
        let batch = backends.batch();
        for (id, offer) in offers {
            self.settle(&mut scope, name, &id, offer);
        }
        drop(batch);
        scope.members.retain(|id, member| listed.contains(id) || member.place == MemberPlace::Ours);
        scope.missing = scope.members.keys().filter(|id| !listed.contains(*id)).cloned().collect();
        self.hold_if_many(&mut scope, name, before);
        self.go_on(&mut scope, name);
        self.scopes.insert(name.to_owned(), scope);
    }

    /// One worker is like this now.
    pub(crate) fn offered(&mut self, name: &str, id: &str, offer: Offer) {
        let Some(mut scope) = self.answered(name) else { return };
        scope.missing.remove(id);
        self.settle(&mut scope, name, id, offer);
        self.scopes.insert(name.to_owned(), scope);
    }

    /// True if this worker is known, or fewer than so many are.
    pub(crate) fn has_room(&self, name: &str, id: &str, most: usize) -> bool {
        let members = self.scopes.get(name).map(|scope| &scope.members);
        members.is_none_or(|members| members.len() < most || members.contains_key(id))
    }

    /// One worker is no more.
    pub(crate) fn gone(&mut self, name: &str, id: &str) {
        let Some(mut scope) = self.answered(name) else { return };
        self.forget(&mut scope, name, id);
        self.scopes.insert(name.to_owned(), scope);
    }

    /// What was said last is said still. A fault of that stays one.
    pub(crate) fn unchanged(&mut self, name: &str) {
        if let Some(scope) = self.scopes.get_mut(name).filter(|scope| scope.fault.is_none()) {
            scope.answered = Some(Instant::now());
        }
    }

    /// The source was asked and did not answer. Nothing changes.
    pub(crate) fn failed(&mut self, name: &str, cause: &'static str, text: String) {
        let (source, Some(scope)) = (self.source, self.scopes.get_mut(name)) else { return };
        let known = scope.ours().count();
        if scope.failed(cause, text.clone()) {
            tracing::warn!(%source, name, cause, known, "does not tell its workers; those known stay: {text}");
        }
    }

    /// As [`failed`](Self::failed), of a source that answers, and names nobody: workers whose checks fail go.
    pub(crate) fn empty(&mut self, name: &str, text: String) {
        self.failed(name, "empty", text);
        let Some(mut scope) = self.scopes.remove(name) else { return };
        let ours: Vec<String> = scope.ours().map(|(id, _)| id.clone()).collect();
        self.forget_ill(&mut scope, name, ours);
        self.scopes.insert(name.to_owned(), scope);
    }

    /// Goes on with what waits for time or for others. To be called about every second.
    pub(crate) fn tick(&mut self) {
        for (name, mut scope) in std::mem::take(&mut self.scopes) {
            self.look_around(&mut scope, &name);
            self.go_on(&mut scope, &name);
            self.scopes.insert(name, scope);
        }
    }

    /// The scope, which was answered; it is to be put back.
    fn answered(&mut self, name: &str) -> Option<Scope> {
        let mut scope = self.scopes.remove(name)?;
        if scope.succeeded() {
            tracing::info!(source = %self.source, name, "tells its workers again");
        }
        Some(scope)
    }

    /// Follows what others did: operators who removed workers, and sources that have let go of URLs.
    fn look_around(&self, scope: &mut Scope, name: &str) {
        for (id, member) in &mut scope.members {
            let url = &member.offer.entry.url;
            match member.place {
                MemberPlace::Ours if !self.is_ours(url) => {
                    tracing::info!(source = %self.source, name, id, worker = url, "removed by an operator; not added again");
                    member.place = MemberPlace::Dismissed;
                }
                MemberPlace::Elsewhere if self.backends.origin(url).is_none() => self.add(member, name),
                _ => {}
            }
        }
        scope
            .missing
            .retain(|id| scope.members.get(id).is_some_and(|member| member.place == MemberPlace::Ours));
    }

    fn is_ours(&self, url: &str) -> bool {
        self.backends.origin(url).is_some_and(|member| member.source == self.source && !member.is_leaving)
    }

    /// Follows what was said of one worker.
    fn settle(&self, scope: &mut Scope, name: &str, id: &str, offer: Offer) {
        let known = scope.members.get(id);
        let is_another = |known: &SourceMember| {
            known.offer.incarnation != offer.incarnation || known.offer.entry.url != offer.entry.url
        };
        if known.is_some_and(is_another) {
            self.replace(scope, name, id, offer);
            return;
        }
        match scope.members.get_mut(id) {
            Some(member) => self.follow(member, name, offer),
            None => drop(scope.members.insert(id.to_owned(), self.enter(name, offer))),
        }
    }

    /// Another worker has the name of one before. At the same URL it takes that one's place.
    fn replace(&self, scope: &mut Scope, name: &str, id: &str, offer: Offer) {
        let Some(mut before) = scope.members.remove(id) else { return };
        if before.place == MemberPlace::Ours && before.offer.entry.url == offer.entry.url {
            before.offer.incarnation.clone_from(&offer.incarnation);
            self.follow(&mut before, name, offer);
            scope.members.insert(id.to_owned(), before);
            return;
        }
        if before.place == MemberPlace::Ours {
            self.retire(&before, name);
        }
        scope.members.insert(id.to_owned(), self.enter(name, offer));
    }

    fn enter(&self, name: &str, offer: Offer) -> SourceMember {
        let mut member = SourceMember { offer, place: MemberPlace::Waiting };
        match member.offer.readiness {
            OfferedState::Ready => self.add(&mut member, name),
            OfferedState::NotReady => {}
            OfferedState::Leaving => member.place = MemberPlace::Left,
        }
        member
    }

    fn add(&self, member: &mut SourceMember, name: &str) {
        let entry = &member.offer.entry;
        let (source, worker) = (self.source, entry.url.as_str());
        member.place = match self.backends.add_from(source, entry) {
            Ok(_) => {
                tracing::info!(%source, name, worker, role = %entry.role, "added");
                MemberPlace::Ours
            }
            Err(AddError::Fleet(_)) => {
                let other = self.backends.origin(worker).map(|member| member.source.as_str());
                if member.place != MemberPlace::Elsewhere {
                    tracing::info!(%source, name, worker, other, "not added: it is there from another source");
                }
                MemberPlace::Elsewhere
            }
            Err(error) => {
                tracing::error!(%source, name, worker, %error, "not added");
                MemberPlace::Dismissed
            }
        };
    }

    fn follow(&self, member: &mut SourceMember, name: &str, offer: Offer) {
        let before = std::mem::replace(&mut member.offer, offer);
        let url = &member.offer.entry.url;
        if member.place == MemberPlace::Ours && !self.is_ours(url) {
            member.place = MemberPlace::Dismissed;
        }
        match (member.place, member.offer.readiness) {
            (MemberPlace::Ours, OfferedState::Leaving) => {
                self.retire(member, name);
                member.place = MemberPlace::Left;
            }
            (MemberPlace::Ours, readiness) => {
                if before.entry != member.offer.entry {
                    // The URL is one, and whether it is there was just looked at.
                    drop(self.backends.change(&member.offer.entry));
                    tracing::info!(source = %self.source, name, worker = url, "changed");
                }
                let is_ready = readiness == OfferedState::Ready;
                if self.backends.set_ready(self.source, url, is_ready) {
                    tracing::info!(source = %self.source, name, worker = url, is_ready, "is ready, or is not any more");
                }
            }
            (MemberPlace::Waiting | MemberPlace::Elsewhere, OfferedState::Leaving) => {
                member.place = MemberPlace::Left
            }
            (MemberPlace::Waiting | MemberPlace::Elsewhere, OfferedState::Ready) => self.add(member, name),
            (MemberPlace::Waiting | MemberPlace::Elsewhere, OfferedState::NotReady) => {}
            (MemberPlace::Dismissed | MemberPlace::Left, _) => {}
        }
    }

    fn retire(&self, member: &SourceMember, name: &str) {
        let url = &member.offer.entry.url;
        if self.is_ours(url) && self.backends.retire(url).is_some() {
            tracing::info!(source = %self.source, name, worker = url, "leaves: draining, then removing");
        }
    }

    fn forget(&self, scope: &mut Scope, name: &str, id: &str) {
        scope.missing.remove(id);
        if let Some(member) = scope.members.remove(id).filter(|member| member.place == MemberPlace::Ours) {
            self.retire(&member, name);
        }
    }

    fn forget_ill(&self, scope: &mut Scope, name: &str, ids: Vec<String>) {
        for id in ids {
            if !self.passes(scope, &id) {
                self.forget(scope, name, &id);
            }
        }
    }

    fn passes(&self, scope: &Scope, id: &str) -> bool {
        let targets = scope.members.get(id).map(|member| self.backends.targets(&member.offer.entry.url));
        targets.into_iter().flatten().any(|target| target.is_passing())
    }

    /// Begins to hold what is missing if it is more than half of what was there.
    fn hold_if_many(&self, scope: &mut Scope, name: &str, before: usize) {
        if scope.missing.is_empty() {
            scope.held_until = None;
            scope.succession = None;
            return;
        }
        let missing = scope.missing.iter().filter(|id| self.passes(scope, id)).count();
        if scope.held_until.is_none() && !self.hold.is_zero() && missing * 2 > before {
            let hold = self.hold;
            scope.held_until = Some(Instant::now() + hold);
            let source = self.source;
            tracing::warn!(%source, name, missing, of = before, ?hold, "more than half are missing in a list: those that pass their checks serve on");
        }
    }

    /// Takes away what is missing, if its time has come.
    fn go_on(&self, scope: &mut Scope, name: &str) {
        if scope.missing.is_empty() {
            return;
        }
        if scope.held_until.is_some_and(|until| Instant::now() < until) {
            let missing = scope.missing.iter().cloned().collect();
            self.forget_ill(scope, name, missing);
            return;
        }
        let staying = scope.ours().map(|(id, _)| id).filter(|id| !scope.missing.contains(*id));
        let (leaving, staying) = (scope.urls(scope.missing.iter()), scope.urls(staying));
        let is_for_these = |one: &&Succession| one.leaving() == leaving;
        if scope.succession.as_ref().filter(is_for_these).is_none() {
            scope.succession = Some(self.backends.succession(leaving, staying));
        }
        if scope.succession.as_ref().is_some_and(|one| one.is_ready() || one.is_over()) {
            for id in std::mem::take(&mut scope.missing) {
                self.forget(scope, name, &id);
            }
            scope.held_until = None;
            scope.succession = None;
        }
    }
}
