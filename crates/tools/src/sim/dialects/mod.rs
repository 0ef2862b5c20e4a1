//! What workers answer that speak like an engine: one file per engine, written after its sources and
//! checked against it by `tests/engines`.
//!
//! Fields and metrics that no router has a use for are left out; none is there that the engine does not
//! have, but for `x-sim-worker`, `system_fingerprint` and `/sim/control`, and `sim` in SGLang's
//! `/server_info`.

pub(crate) mod llama_cpp;
pub(crate) mod sglang;
pub(crate) mod vllm;
