//! Where a path is that is none of clients.

use crate::config::engine_calls::engine_call;
use crate::proxy::worker_door::WorkerDoor;

/// What paths begin with that only operators have.
const OF_OPERATORS: [&str; 3] = ["/v1/plugins", "/v1/policy", "/v1/fanout"];

/// Who has a path that is none of clients, as the rest of a sentence.
pub(crate) fn where_else(path: &str) -> &'static str {
    if WorkerDoor::is_for(path) {
        "; operators have it at their own port (admin.port), and here with --client-worker-api"
    } else if engine_call(path).is_some() || OF_OPERATORS.iter().any(|own| path.starts_with(own)) {
        "; operators have it at their own port (admin.port)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_operators_is_told_where_it_is() {
        for (path, expected) in [
            ("/workers", "--client-worker-api"),
            ("/workers/7", "--client-worker-api"),
            ("/flush_cache", "admin.port"),
            ("/v1/plugins/x", "admin.port"),
        ] {
            assert!(where_else(path).contains(expected), "{path}");
        }
        assert_eq!(where_else("/v1/nothing"), "");
    }
}
