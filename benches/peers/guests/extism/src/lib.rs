//! `least_connections` as a guest of Extism, written as its PDK asks for.
#![expect(missing_docs, reason = "the macro writes the export, without a word")]

use std::cell::RefCell;

use extism_pdk::FnResult;
use extism_pdk::plugin_fn;
use peer_policy::LeastConnections;
use sgl_policy_sdk::Guest;

thread_local! {
    /// Kept from call to call, as the host keeps the instance.
    static GUEST: RefCell<Guest<LeastConnections>> = RefCell::new(peer_policy::ready());
}

/// Message in, answer out.
#[plugin_fn]
pub fn decide(message: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(GUEST.with_borrow_mut(|guest| guest.select(&message).to_vec()))
}
