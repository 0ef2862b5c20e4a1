//! A worker that a source has told of.

use crate::sources::offer::{Offer, OfferedState};

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberPlace {
    /// It has not been ready yet, and was not added.
    Waiting,
    /// It is a worker, and this source's.
    Ours,
    /// Its URL is another source's worker, or was when it was last looked at.
    Elsewhere,
    /// An operator removed it. It stays away until the source forgets it or tells of another one.
    Dismissed,
    /// It was retired, since its source said that it leaves.
    Left,
}

/// A worker that a source has told of.
#[derive(Clone, Debug)]
pub(crate) struct SourceMember {
    /// What was said last.
    pub(crate) offer: Offer,
    /// What became of it.
    pub(crate) place: MemberPlace,
}

impl SourceMember {
    /// In a word, for programs; `is_missing` if the last list does not have it.
    pub(crate) fn state(&self, is_missing: bool) -> &'static str {
        match (self.place, self.offer.readiness) {
            (MemberPlace::Ours, _) if is_missing => "held",
            (MemberPlace::Ours, OfferedState::Ready) => "serving",
            (MemberPlace::Waiting, _) | (MemberPlace::Ours, _) => "not_ready",
            (MemberPlace::Elsewhere, _) => "elsewhere",
            (MemberPlace::Dismissed, _) => "dismissed",
            (MemberPlace::Left, _) => "leaving",
        }
    }

    /// All of these words.
    pub(crate) const STATES: [&'static str; 6] =
        ["serving", "not_ready", "held", "elsewhere", "dismissed", "leaving"];
}
