//! What of the engine knows nothing of wasmtime.

#[path = "../../../src/engine/background.rs"]
pub mod background;
#[path = "../../../src/engine/capacity.rs"]
pub mod capacity;
#[path = "../../../src/engine/clock.rs"]
pub mod clock;
#[path = "../../../src/engine/error.rs"]
pub mod error;
pub mod pool;
