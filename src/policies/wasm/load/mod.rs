//! From a module's bytes to a generation that is ready to decide.
//!
//! ```text
//!  source ─► trust ─► module check ─► compiled ─► self-test ─► warm-up ─► Generation
//! ```
//!
//! It owns the checks of a module, who vouches for it, and the making of a `generation`. It refuses
//! to know what serves meanwhile, and how the new generation comes into use. The registry calls it,
//! never a decision.

pub mod trust;
pub(crate) mod error;
mod error_code;
pub(crate) mod progress;
mod producers;
mod oversights;
mod known_exports;
pub(crate) mod module_check;
pub(crate) mod manifest_section;
mod secret_headers;
pub(crate) mod provenance;
pub(crate) mod generation;
pub(crate) mod source;
pub(crate) mod load_request;
mod rehearsal;
mod warm_up;
mod instance_seeds;
mod plugin_recipe;
mod self_test;
pub(crate) mod loader;
