//! For policies that count in seconds: when each worker is done with the prompts that it was sent, and how
//! fast it is.
//!
//! A sum of tokens falls only when a prompt is done, so it sees a prompt of 100,000 tokens as ten seconds of
//! work until the last of them. [`Clocks`] keeps a time instead, "done at", which each dispatch moves on and
//! each first token sets right; from what first tokens took it learns how fast each worker is.
//!
//! No plugin: `toll`, `late` and `slo_aware` are made of it.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod pace;
mod work;

mod clock;

mod clocks;
mod saved;

pub use crate::clocks::{Clocks, Look, Quote, duration};
pub use crate::work::WorkModel;
