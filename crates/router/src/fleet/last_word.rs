//! What a router said of itself last: whether it is time for another word.

use std::time::{Duration, Instant};

use sgl_fleet::presence::RouterPresence;

/// Time between two words of a router that has nothing new to say.
const SAY: Duration = Duration::from_secs(3);

/// What was said last, and when.
#[derive(Debug, Default)]
pub(crate) struct LastWord {
    last: Option<(RouterPresence, Instant)>,
    first: Option<Instant>,
}

impl LastWord {
    /// True if this is to be said now.
    pub(crate) fn is_due(&self, presence: &RouterPresence) -> bool {
        let Some((last, at)) = &self.last else { return true };
        at.elapsed() >= SAY || without_counts(last) != without_counts(presence)
    }

    /// This is said now.
    pub(crate) fn said(&mut self, presence: RouterPresence) {
        let now = Instant::now();
        self.last = Some((presence, now));
        self.first.get_or_insert(now);
    }

    /// When something was said first.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.first
    }
}

/// What is worth a word at once; counts are told every few seconds.
fn without_counts(presence: &RouterPresence) -> RouterPresence {
    let mut presence = presence.clone();
    for health in presence.plugins.values_mut() {
        (health.decisions, health.failures, health.p99_ns) = (0, 0, None);
    }
    presence
}

#[cfg(test)]
mod tests {
    use super::*;
    use sgl_fleet::presence::PluginHealth;

    #[test]
    fn what_changes_is_said_at_once_and_counts_are_not() {
        let presence = |serving, decisions| {
            let health = PluginHealth { serving, decisions, ..PluginHealth::default() };
            RouterPresence { plugins: [("p".to_owned(), health)].into(), ..RouterPresence::default() }
        };
        let mut last = LastWord::default();
        assert!(last.is_due(&presence(1, 0)) && last.first().is_none());
        last.said(presence(1, 0));
        assert!(!last.is_due(&presence(1, 99)));
        assert!(last.is_due(&presence(2, 0)));
    }
}
