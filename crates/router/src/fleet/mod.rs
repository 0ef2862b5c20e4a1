//! This router as one of a fleet: follows what the fleet is to serve, says what it is, and advances rollouts.
//!
//! ```text
//! sgl_fleet::follow ─ sight ─▶ fleet_member ─ wanted ─▶ version_loader ─▶ PluginManager, PolicySwitch
//!                                  │  └─ gates ─▶ compare and swap
//!                                  └─ presence ─▶ sgl-live
//! ```
//!
//! Nothing here is on the path of a request.

pub(crate) mod fleet_view;
pub(crate) mod fleet_board;
mod own_version;
mod held_plugin;
mod kept_fleet;
mod version_loader;
mod rollout_steps;
mod last_word;
mod retry_pause;
mod own_presence;
mod write_back;
mod fleet_metrics;
mod fleet_member;
mod shared_loads;
mod shared_prefixes;
mod sharing;
mod start;

pub(crate) use crate::fleet::fleet_board::FleetBoard;
pub(crate) use crate::fleet::start::{FleetParts, start};
