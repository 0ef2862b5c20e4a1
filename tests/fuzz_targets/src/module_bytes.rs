//! Bytes of a module, into validator and loader.

use std::sync::LazyLock;

use sglang_router_rs::config::BreakerOptions;
use sglang_router_rs::policies::{PluginError, PluginOptions, check_module};

use crate::fleet::Requests;
use crate::host::Host;
use crate::{fleet, host};

/// Decisions of a module that loads.
const DECISIONS: usize = 4;

/// Longest message about a module, in bytes: its parts are cut.
const MAX_MESSAGE: usize = 8 << 10;

static HOST: LazyLock<Host> = LazyLock::new(Host::new);

/// Bytes of a module, into validator and loader.
pub fn module_bytes(bytes: &[u8]) {
    let config = host::config();
    let checked = check_module(bytes, config.max_memory_bytes, &config.allowed_syscalls);
    // A guest that never ends is asked only once.
    let breaker = BreakerOptions { failures: 1, ..host::options().breaker };
    let options = PluginOptions { breaker, ..host::options() };
    let loaded = HOST.load(config, options, bytes.to_vec());
    let policy = match (checked, loaded) {
        (Ok(_), Ok(policy)) => policy,
        (Err(fault), Err(PluginError::Module(same))) => {
            assert_eq!(fault, same, "validator and loader disagree");
            return check_message(&fault.to_string());
        }
        (Ok(_), Err(PluginError::Module(fault))) => panic!("only the loader refuses it: {fault}"),
        (Ok(_), Err(error)) => return check_message(&error.to_string()),
        (Err(fault), other) => panic!("only the validator refuses it: {fault}; the loader: {other:?}"),
    };
    let (table, requests) = (fleet::table(5), Requests::new());
    for number in 0..DECISIONS {
        HOST.decide(&policy, &table, &requests.info(number), number % 2 == 1);
    }
    fleet::nothing_in_flight(&table);
    HOST.unload(&policy);
    HOST.nothing_is_left(false);
}

/// An operator's terminal must show it as it is.
fn check_message(message: &str) {
    assert!(message.len() <= MAX_MESSAGE, "{} bytes of message", message.len());
    assert!(!message.chars().any(char::is_control), "a control character in: {message:?}");
}
