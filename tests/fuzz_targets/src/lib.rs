//! What the fuzzers run: one function a target, which takes any bytes and panics if the library
//! does something that it must never do.
//!
//! | target | bytes | what must hold |
//! |---|---|---|
//! | [`module_bytes`] | a module | validator and loader agree; what loads decides right and goes without a trace |
//! | [`structured_modules`] | choices of which a valid module with the ABI's exports is made | the same, over 100 decisions |
//! | [`guest_answers`] | a guest's answer | the decoder and the host agree on what it means |
//! | [`admin_bodies`] | a request to the operations API | an answer that is no server fault; what serves goes on |
//! | [`worker_answers`] | the body of a worker's answer | its tokens are those that a whole parse finds, or not known; how it is cut says nothing |
//! | [`config_files`] | a configuration file | faults, or settings within their limits |
//! | [`request_bodies`] | the body of a client's request | what is found in it is what a stricter reader finds; no more than it has |
//!
//! `fuzz/` wraps them for libFuzzer, with a nightly compiler: `scripts/fuzz.sh`. The tests of this
//! package replay every input that is kept in `fuzz/seeds` and `fuzz/found`, with a stable one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a panic here is a finding"
)]

mod fleet;
mod guests;
mod host;

mod admin_bodies;
mod config_files;
mod guest_answers;
mod module_bytes;
mod request_bodies;
mod steadied;
mod structured_modules;
mod worker_answers;

pub use crate::admin_bodies::admin_bodies;
pub use crate::config_files::config_files;
pub use crate::guest_answers::guest_answers;
pub use crate::module_bytes::module_bytes;
pub use crate::request_bodies::request_bodies;
pub use crate::structured_modules::structured_modules;
pub use crate::worker_answers::worker_answers;
