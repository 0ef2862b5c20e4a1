//! What a router sees of its fleet.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::buckets::SILENCE;
use crate::desired_set::DesiredSet;
use crate::presence::RouterPresence;

/// A router's word, and when it was heard here.
#[derive(Clone, Debug)]
pub struct HeardPresence {
    /// What it says.
    pub presence: RouterPresence,
    /// When it was heard, by the clock of this process.
    pub heard: Instant,
}

/// What a router sees of its fleet.
#[derive(Clone, Debug, Default)]
pub struct FleetSight {
    /// Whether there is a connection.
    pub is_up: bool,
    /// What is to be served, as it was read last; `None` until it was read once.
    pub desired: Option<DesiredSet>,
    /// Who was heard of lately.
    pub live: BTreeMap<String, HeardPresence>,
    /// When NATS last said something.
    pub heard: Option<Instant>,
    /// What went wrong last, while it does.
    pub fault: Option<String>,
}

impl FleetSight {
    /// Forgets routers that are silent. True if there were any.
    pub(crate) fn forget_silent(&mut self) -> bool {
        let before = self.live.len();
        self.live.retain(|_, heard| heard.heard.elapsed() < SILENCE);
        self.live.len() != before
    }
}
