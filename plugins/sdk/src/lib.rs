//! Write a routing policy in Rust, test it natively, build it to WebAssembly.
//!
//! A policy implements [`Policy`] and names itself with [`export_policy!`]. The
//! macro writes the manifest and the exports of the plugin ABI; on any other
//! target than wasm32 it writes only what the test harness in [`testing`] needs.
//!
//! ```
//! use sgl_policy_sdk::prelude::*;
//!
//! /// Sends every request to the first worker that may be chosen.
//! struct First;
//!
//! impl Policy for First {
//!     fn init(_init: &Init) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
//!         ctx.candidates().iter().next().into()
//!     }
//! }
//!
//! sgl_policy_sdk::export_policy! {
//!     policy: First,
//!     name: "first",
//!     description: "the first healthy worker",
//!     inputs: [Healthy, Excluded],
//! }
//!
//! // In a unit test: the real messages, encoded and decoded, without a router.
//! use sgl_policy_sdk::testing::{Harness, Request, TestWorker};
//! let fleet = vec![TestWorker::new("http://a").healthy(false), TestWorker::new("http://b")];
//! let mut harness = Harness::<First>::new([], fleet).unwrap();
//! assert_eq!(harness.select(&Request::new()).worker, Some(1));
//! ```
//!
//! On the decision path nothing is allocated and nothing is copied: columns are
//! read in place from the host's message. A message that is malformed gives an
//! answer with an error, never undefined behaviour.
#![no_std]

#[doc(hidden)]
pub extern crate alloc;
#[cfg(not(target_arch = "wasm32"))]
extern crate std;

mod error;

mod choice;
mod column;
mod random;
mod shown;

mod config;
mod hash;
mod lowest;
mod table;
mod tagged;

mod per_worker;

mod lanes;

mod candidates;
mod take;
mod message;
mod section;

mod context;
mod policy;

mod guest;
#[doc(hidden)]
pub mod hook_check;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod exports;
mod macros;
#[cfg(all(target_arch = "wasm32", feature = "runtime"))]
mod runtime;

pub mod host;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use sgl_policy_abi as abi;

pub use crate::candidates::{CandidateIter, Candidates};
pub use crate::choice::{Choice, Encoded, ExplainedChoice, PairChoice};
pub use crate::column::{Bits, Floats, Hashes, Ints, Tokens};
pub use crate::config::Config;
pub use crate::context::Context;
pub use crate::error::Error;
pub use crate::guest::Guest;
pub use crate::hash::hash;
pub use crate::lowest::Lowest;
#[doc(hidden)]
pub use crate::message::Message;
#[doc(hidden)]
pub use crate::message::MessageError;
pub use crate::per_worker::PerWorker;
pub use crate::policy::{
    CompletionHook, FirstTokenHook, Hooks, PairHook, Plugin, Policy, SessionEndHook, StateHook,
};
pub use crate::random::{Rng, mix};
pub use crate::section::{Declares, StaticManifest};
pub use crate::table::{Table, TableWorker};
pub use crate::tagged::Tagged;
pub use sgl_policy_abi::{KnownEngine, KnownModels, Leg, Ticket};

/// What nearly every policy needs.
pub mod prelude {
    pub use sgl_policy_abi::{Completion, Concurrency, FirstToken, Init, Input, Value, WorkerRole};

    pub use crate::host::Level;
    pub use crate::{
        Choice, CompletionHook, Config, Context, Error, FirstTokenHook, Leg, PairChoice, PairHook, Policy,
        Rng, SessionEndHook, StateHook, Table,
    };
}

/// A hook that is written but not listed is an error of the build:
///
/// ```compile_fail
/// use sgl_policy_sdk::prelude::*;
/// struct Deaf;
/// impl Policy for Deaf {
///     fn init(_: &Init) -> Result<Self, Error> {
///         Ok(Self)
///     }
///     fn select(&mut self, _: &Context<'_, Self>) -> Choice {
///         Choice::Nobody
///     }
/// }
/// impl CompletionHook for Deaf {
///     fn on_complete(&mut self, _: &Table, _: &Completion) {}
/// }
/// sgl_policy_sdk::export_policy! { policy: Deaf, name: "deaf", description: "", inputs: [] }
/// ```
///
/// The same with `hooks: [on_complete]` builds; and so one that is listed but not written does not:
///
/// ```
/// use sgl_policy_sdk::prelude::*;
/// struct Hears;
/// impl Policy for Hears {
///     fn init(_: &Init) -> Result<Self, Error> {
///         Ok(Self)
///     }
///     fn select(&mut self, _: &Context<'_, Self>) -> Choice {
///         Choice::Nobody
///     }
/// }
/// impl CompletionHook for Hears {
///     fn on_complete(&mut self, _: &Table, _: &Completion) {}
/// }
/// sgl_policy_sdk::export_policy! {
///     policy: Hears, name: "hears", description: "", inputs: [], hooks: [on_complete],
/// }
/// ```
///
/// ```compile_fail
/// use sgl_policy_sdk::prelude::*;
/// struct Bare;
/// impl Policy for Bare {
///     fn init(_: &Init) -> Result<Self, Error> {
///         Ok(Self)
///     }
///     fn select(&mut self, _: &Context<'_, Self>) -> Choice {
///         Choice::Nobody
///     }
/// }
/// sgl_policy_sdk::export_policy! {
///     policy: Bare, name: "bare", description: "", inputs: [], hooks: [select_pair],
/// }
/// ```
#[cfg(doctest)]
struct HooksAreCompared;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
