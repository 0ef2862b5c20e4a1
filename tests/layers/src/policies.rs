//! What of the policies knows nothing of the engine.

pub mod wasm;
