//! Test tools for routers of inference requests, which need no engine and no router of ours.
//!
//! - [`page`]: what reports are drawn with.
//! - [`sim`]: a simulated inference server with the endpoints of OpenAI and SGLang.
//! - [`load`]: a load generator with its reports.

pub mod page;
pub mod sim;
pub mod load;
