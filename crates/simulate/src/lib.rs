//! A discrete-event simulation of a fleet of inference engines behind this router's own decisions.
//!
//! Only the engines and the clock are modelled. Policies, native ones and plugins alike, are asked by the
//! same code as in a router that serves: the same messages, tables, books, prefix index and outcomes.
//!
//! ```text
//!  trace ─► workload ─► run ─► fleet: policy ─ decides ─► engine: queue ─ batch ─ cache
//!                        │                                   │ first tokens, ends, reports
//!                        └─► run report ◄────────────────────┘
//! ```
//!
//! - [`workload`]: who asks when for what.
//! - [`engine`]: what a worker does with it, and how long that takes.
//! - [`calibration`]: from times of a real engine to the numbers of its model.
//! - [`fleet`]: the router in front of workers, in virtual time.
//! - [`rivals`]: models of other routers' policies, to compare with.
//! - [`report`]: what came of it.
//! - [`replay`]: decisions that a router recorded, made again by others.
//!
//! A run is repeatable: the same workload, model, policy and seed give the same figures, on any machine.

pub mod workload;
pub mod engine;
pub mod calibration;
pub mod report;
pub mod rivals;
pub mod fleet;
pub mod replay;
