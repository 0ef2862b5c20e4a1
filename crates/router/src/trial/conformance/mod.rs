//! The conformance kit: what every plugin has to stand, whatever its policy and its language.
//!
//! ```text
//!  kit ─► KitCase ─► KitSession: a fresh plugin and a fleet ─► every answer is judged
//! ```
//!
//! It owns the cases and what an author must do when one fails. It refuses to know what a good choice is: a
//! choice that a router would take is right, and so is a request that is made to wait where it may, or shed.

pub(crate) mod kit_session;
pub(crate) mod kit_case;
mod fleet_cases;
mod signal_cases;
mod request_cases;
mod table_cases;
mod outcome_cases;
mod instance_cases;
mod pair_cases;
pub(crate) mod kit;
