//! A fleet of routers, as it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The fleet of a router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FleetAnswer {
    /// What it sees of it; null: it is in none.
    pub fleet: Option<FleetView>,
}

/// A fleet, as one of its routers or an operator's command sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FleetView {
    /// Its name.
    pub name: String,
    /// The router that looks; null: a command.
    pub router: Option<String>,
    /// Whether there is a connection to NATS.
    pub connected: bool,
    /// Milliseconds for which that has been so; null: a command that looks.
    pub link_ms: Option<u64>,
    /// Milliseconds since NATS last said something; null: never yet, or a command that looks.
    pub heard_ms: Option<u64>,
    /// Which life of the fleet's data this is.
    pub epoch: Option<String>,
    /// Why that cannot be understood, if it cannot.
    pub epoch_fault: Option<String>,
    /// Why the router follows nothing new, if it does not.
    pub holding: Option<String>,
    /// What goes wrong with NATS now.
    pub fault: Option<String>,
    /// What is to be served.
    pub plugins: Vec<FleetPluginView>,
    /// What of it cannot be understood, by names.
    pub malformed: BTreeMap<String, String>,
    /// Who is heard of.
    pub routers: Vec<FleetRouterView>,
}

/// What a fleet is to serve under one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FleetPluginView {
    /// The name.
    pub name: String,
    /// The newest generation.
    pub generation: u64,
    /// `rolling`, `paused`, `done`, `rolled_back` or `removed`.
    pub state: String,
    /// How many steps have begun; 0: it is made ready.
    pub step: usize,
    /// Percent of the routers in each.
    pub steps: Vec<u8>,
    /// Percent of the routers that are to serve it now.
    pub percent: u8,
    /// SHA-256 of its module.
    pub digest: String,
    /// Where the module is.
    pub module: String,
    /// Whether requests are placed with it.
    pub place: bool,
    /// Who pushed it.
    pub by: String,
    /// Why it is as it is.
    pub reason: String,
    /// The generation that was served before.
    pub before: Option<u64>,
    /// The revision of its value in the bucket.
    pub revision: u64,
    /// Routers that serve it; once it is rolled back, that serve the one before.
    pub serving: usize,
    /// Routers that place requests with it.
    pub placing: usize,
    /// The generation that the router that looks is to serve now, by its step; 0: none; null: a command.
    pub wanted: Option<u64>,
    /// What its rollout waits for, as a router sees it.
    pub waits_for: Option<String>,
}

/// A router of a fleet, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FleetRouterView {
    /// Its name.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Where its operators' listener is.
    pub admin: String,
    /// The policy that places its requests.
    pub policy: String,
    /// The epoch that it follows.
    pub epoch: Option<String>,
    /// Why it follows nothing new, if it does not.
    pub holding: Option<String>,
    /// What it serves of the fleet's.
    pub plugins: Vec<FleetRouterPluginView>,
}

/// A plugin at a router of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FleetRouterPluginView {
    /// The name.
    pub name: String,
    /// The fleet's generation that it serves; 0: none.
    pub serving: u64,
    /// The one that is warm beside it.
    pub prepared: Option<u64>,
    /// What did not work here.
    pub failed: Option<String>,
    /// Whether its breaker keeps it out of the path.
    pub breaker_open: bool,
    /// Whether the router serves something that it was given alone.
    pub diverged: bool,
    /// Decisions of the generation that serves.
    pub decisions: u64,
    /// Those that failed.
    pub failures: u64,
    /// The time that one decision in a hundred exceeds, in nanoseconds.
    pub p99_ns: Option<u64>,
}
