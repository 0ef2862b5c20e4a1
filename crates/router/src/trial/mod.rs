//! Decisions of a plugin without a router: over workers and requests that an author describes.
//!
//! ```text
//!  module ─► TrialEngine ─► TriedPlugin ─┐
//!  workers ─► DescribedWorker ─► TrialFleet ─► decide ─► TrialDecision
//!  request ─► DescribedRequest ─► PreparedRequest ─┘        └─► ToldQuestion
//! ```
//!
//! It owns what is made of an author's files, and the fleet, the clock and the engine in which a module
//! decides: the same code as in a router that serves, in virtual time, so that what is alike comes out alike.
//! It refuses to know what is printed of it. The commands of `sgl-router plugin` call it.

pub(crate) mod described_worker;
pub(crate) mod described_fleet;
pub(crate) mod described_request;
pub(crate) mod described_outcome;
mod offered_workers;
pub(crate) mod prepared_request;
pub(crate) mod trial_fleet;
pub(crate) mod told_question;
pub(crate) mod trial_decision;
pub(crate) mod tried_plugin;
pub(crate) mod module_sheet;
pub(crate) mod cases;
pub(crate) mod conformance;
