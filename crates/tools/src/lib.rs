//! Test tools for routers of inference requests, which need no engine and no router of ours.
//!
//! - [`sim`]: a simulated inference server with the endpoints of OpenAI and SGLang.
//! - [`load`]: a load generator with its reports.

pub mod sim;
pub mod load;
