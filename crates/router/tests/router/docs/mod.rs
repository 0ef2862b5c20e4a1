//! What the documents say that can be checked: links, names, code, example bytes,
//! and that editions in two languages say the same.
pub(crate) mod pages;

mod abi_bytes;
mod code;
mod editions;
mod links;
mod metrics;
mod migration;
mod names;
mod paths;
mod policies;
mod sections;
