//! What the routers of a fleet share: which plugins they are to serve, who lives, what each has in
//! flight, and which prompts it sent where. Nobody leads.
//!
//! ```text
//! operators ─ compare and swap ─▶ sgl-desired ─ watched, and read every 10 s ─▶ every router
//! every router ─ puts its own key ─▶ sgl-live ────────────────────────────────▶ every router
//! every router ─ plain subjects, 5 times a second ─▶ loads, prompts sent ──────▶ every router
//! ```
//!
//! Who is in a step of a rollout each router works out by itself ([`membership`]); a step is advanced by
//! whoever sees its gate met ([`gates`]), and only one of those succeeds. What a router follows never goes
//! back ([`marks`]). None of these three knows NATS; [`store`] and [`follow`] know nothing else.

mod fleet_state_error;
mod key_part;
pub mod membership;
mod step_plan;
mod plugin_target;
pub mod desired_plugin;
pub mod desired_set;
pub mod marks;
pub mod presence;
pub mod wanted_versions;
mod step_side;
pub mod gates;
pub mod exchange_counts;
pub mod message_number;
pub mod loads;
pub mod fleet_address;
pub mod access;
pub mod tls_files;
pub mod given_access;
pub mod connection;
pub mod load_exchange;
pub mod prefix_message;
pub mod prefix_exchange;
pub mod buckets;
pub mod modules;
mod bucket_entries;
pub mod store;
pub mod sight;
pub mod follow;

pub use crate::fleet_state_error::FleetStateError;
pub use crate::key_part::KeyPart;
