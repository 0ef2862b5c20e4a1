//! What the documents say that can be checked: links, names, code, example bytes.
pub(crate) mod pages;

mod abi_bytes;
mod code;
mod links;
mod metrics;
mod migration;
mod names;
mod paths;
