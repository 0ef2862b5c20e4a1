//! What a policy reads of workers that somebody has to work for.

/// What a policy wants to be known of workers before it is asked. It costs memory and connections, so it is
/// kept up only while somebody wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetNeeds {
    /// What each of them holds of prompts.
    pub prefixes: bool,
    /// What they say of their load, as soon as they say it.
    pub reports: bool,
}

impl FleetNeeds {
    /// What either of two policies needs.
    pub fn and(self, other: Self) -> Self {
        Self { prefixes: self.prefixes || other.prefixes, reports: self.reports || other.reports }
    }
}
