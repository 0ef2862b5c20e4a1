//! Cases that an author writes: a fleet, requests and events in a row, and what is expected of them.

mod share_bound;
pub(crate) mod expectation;
pub(crate) mod case_file;
pub(crate) mod case_run;
