//! Runs a policy natively, through the messages that the router would send.
//!
//! [`Harness`] plays the router: it encodes the worker table, the signals and
//! the request as the ABI says, hands them to the same guest code that the Wasm
//! exports call, and decodes the answer. [`Played`] keeps the router's books and its prefix index too, for
//! tests of many requests.

mod fleet;
mod harness;
mod message;
mod played;
mod standin;

pub use crate::testing::fleet::{Request, TestWorker};
pub use crate::testing::harness::{Harness, TestDecision, TestPairDecision};
pub use crate::testing::played::{Played, SentRequest};
pub use crate::testing::standin::{limit_map, pass_time, reset_host, take_logged};
