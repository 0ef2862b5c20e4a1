//! A corpus of hostile plugins: one behaviour each, and what it comes to.
//!
//! Every case says what the operator sees (the error of the load, or the cause that is counted),
//! that its request is served all the same, that a well-behaved plugin of the same engine keeps
//! deciding right before, while and after, that each shipped module beside it decides too and never
//! fails, and that nothing of the hostile one is left behind: see [`stage::Stage`].
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a helper is a failed test"
)]

mod answers;
mod buffers;
mod choices;
mod exports;
mod features;
#[cfg(unix)]
mod files;
mod floods;
mod guest;
mod imports;
mod loops;
mod memory;
mod modules;
mod names;
mod neighbours;
#[cfg(unix)]
mod overrun;
#[cfg(unix)]
mod quota;
#[cfg(unix)]
mod quota_shared;
mod recursion;
mod rust_modules;
mod secrets;
mod shipped;
mod stage;
mod state;
