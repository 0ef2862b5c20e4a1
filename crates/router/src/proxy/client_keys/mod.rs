//! Keys of clients: who may send requests, and how many.
//!
//! A request shows a key, which is looked up by its digest; the key's limits admit it or not; a
//! [`KeyUse`] counts it as long as its answer lasts, and its tokens at the end.

mod token_bucket;
mod client_key;
mod key_use;
mod key_ring;
mod key_file_watch;

pub(crate) use crate::proxy::client_keys::client_key::KeyLimit;
pub(crate) use crate::proxy::client_keys::key_file_watch::{tell, watch};
pub(crate) use crate::proxy::client_keys::key_ring::{KeyRefusal, KeyRing};
pub(crate) use crate::proxy::client_keys::key_use::KeyUse;
