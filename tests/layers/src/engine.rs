//! What of the engine knows nothing of wasmtime.

#[path = "../../../src/engine/background.rs"]
pub mod background;
#[path = "../../../src/engine/capacity.rs"]
pub mod capacity;
#[path = "../../../src/engine/clock.rs"]
pub mod clock;
#[path = "../../../src/engine/error.rs"]
pub mod error;
#[path = "../../../src/engine/idle.rs"]
pub mod idle;
#[path = "../../../src/engine/line.rs"]
pub mod line;
#[path = "../../../src/engine/waiters.rs"]
pub mod waiters;
