//! The codes of problems that programs act upon. A code stays when its text changes.

/// There is no plugin of that name.
pub const PLUGIN_NOT_FOUND: &str = "plugin_not_found";

/// There is no worker of that URL or id.
pub const WORKER_NOT_FOUND: &str = "worker_not_found";

/// Without the worker that was to be drained nobody could serve requests.
pub const LAST_WORKER: &str = "last_worker";

/// The router places requests with the plugin that was to go.
pub const IN_USE: &str = "in_use";

/// The operators' token is missing or another one.
pub const UNAUTHORIZED: &str = "unauthorized";

/// There is no policy of that name.
pub const POLICY_NOT_FOUND: &str = "policy_not_found";

/// The plugin is what the router's fleet serves: it is changed for all, or with a header for this router alone.
pub const OF_FLEET: &str = "plugin_of_fleet";
