//! Files of the router that need no Wasm engine, by their own paths: with an engine neither Miri
//! nor the thread sanitizer could run them. `scripts/sanitize.sh` runs their unit tests and
//! [`stress`] under both.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "only a part of the library is here")]

#[path = "../../../src/types/mod.rs"]
pub mod types;

pub mod config {
    #[path = "../../../../src/config/plugin.rs"]
    pub mod plugin;
    #[path = "../../../../src/config/rollout.rs"]
    pub mod rollout;
}

#[path = "../../../src/core/mod.rs"]
pub mod core;

pub mod engine {
    #[path = "../../../../src/engine/background.rs"]
    pub mod background;
    #[path = "../../../../src/engine/capacity.rs"]
    pub mod capacity;
    #[path = "../../../../src/engine/clock.rs"]
    pub mod clock;
    #[path = "../../../../src/engine/error.rs"]
    pub mod error;
    #[path = "../../../../src/engine/waiters.rs"]
    pub mod waiters;
}

pub mod policies {
    pub mod wasm {
        #[path = "../../../../../src/policies/wasm/breaker.rs"]
        pub mod breaker;
        #[path = "../../../../../src/policies/wasm/verdict.rs"]
        pub mod verdict;
    }
}

#[cfg(test)]
mod stress;
