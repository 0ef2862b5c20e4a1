//! One question of a source, such as a name or a selector: what it was told last, and how long ago.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::proxy::succession::Succession;
use crate::sources::source_member::{MemberPlace, SourceMember};

/// One question of a source.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// By the names that the source has for them.
    pub(crate) members: BTreeMap<String, SourceMember>,
    /// Workers that the last list does not have, and that serve on for now.
    pub(crate) missing: BTreeSet<String>,
    /// Until when they do, since they are many.
    pub(crate) held_until: Option<Instant>,
    /// What is waited for before they go.
    pub(crate) succession: Option<Succession>,
    /// When it was last answered.
    pub(crate) answered: Option<Instant>,
    /// Why it is not answered: the cause, for programs, and in words.
    pub(crate) fault: Option<(&'static str, String)>,
    /// How often it was not, by cause.
    pub(crate) failures: BTreeMap<&'static str, u64>,
}

impl Scope {
    /// Workers that are this source's.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (&String, &SourceMember)> {
        self.members.iter().filter(|(_, member)| member.place == MemberPlace::Ours)
    }

    /// The URLs of these members.
    pub(crate) fn urls<'a>(&'a self, ids: impl Iterator<Item = &'a String>) -> Vec<String> {
        ids.filter_map(|id| Some(self.members.get(id)?.offer.entry.url.clone())).collect()
    }

    /// It was answered. True if it was not before.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.answered = Some(Instant::now());
        self.fault.take().is_some()
    }

    /// It was not answered. True if that is news.
    pub(crate) fn failed(&mut self, cause: &'static str, text: String) -> bool {
        *self.failures.entry(cause).or_default() += 1;
        let is_news = self.fault.as_ref().is_none_or(|(before, said)| (*before, said) != (cause, &text));
        self.fault = Some((cause, text));
        is_news
    }

    /// How many members are in each state, in the order of [`SourceMember::STATES`].
    pub(crate) fn counts(&self) -> [(&'static str, usize); 6] {
        let state = |(id, member): (&String, &SourceMember)| member.state(self.missing.contains(id));
        SourceMember::STATES.map(|name| (name, self.members.iter().filter(|one| state(*one) == name).count()))
    }
}
