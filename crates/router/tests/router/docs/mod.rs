//! What the documents say that can be checked: links, names, code, example bytes.
mod pages;

mod abi_bytes;
mod code;
mod links;
mod metrics;
mod names;
mod paths;
