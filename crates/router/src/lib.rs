//! The router `sgl-router`: a data plane, its operations and its command line, around the decisions of
//! [`sglang_router_rs`].

pub mod config;
pub mod metrics;
pub mod records;
pub mod manage;
pub mod proxy;
pub mod admin;
pub mod cli;
