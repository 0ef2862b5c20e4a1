//! What authors of plugins do without a router: decisions, cases, the conformance kit.

mod commands;

mod cases;
mod conformance;
mod decisions;
