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

/// What `clock_hooks!` names, wherever it is written.
#[doc(hidden)]
pub mod hooks {
    pub use alloc::vec::Vec;
    pub use sgl_policy_sdk::prelude::{
        Completion, CompletionHook, FirstToken, FirstTokenHook, StateHook, Table,
    };
}

/// Has a policy's field `clocks` hear of first tokens and ends, and be what a new generation takes over.
#[macro_export]
macro_rules! clock_hooks {
    ($policy:ty) => {
        impl $crate::hooks::FirstTokenHook for $policy {
            fn on_first_token(&mut self, _table: &$crate::hooks::Table, first: &$crate::hooks::FirstToken) {
                self.clocks.on_first_token(first);
            }
        }

        impl $crate::hooks::CompletionHook for $policy {
            fn on_complete(&mut self, _table: &$crate::hooks::Table, completion: &$crate::hooks::Completion) {
                self.clocks.on_complete(completion);
            }
        }

        impl $crate::hooks::StateHook for $policy {
            fn save_state(&mut self, out: &mut $crate::hooks::Vec<u8>) {
                self.clocks.save(out);
            }

            fn restore_state(&mut self, saved: &[u8]) {
                self.clocks.restore(saved);
            }
        }
    };
}
