//! What the documents say that can be checked: links, names, example bytes, code.
#![cfg(feature = "router")]

mod pages;

mod abi_bytes;
