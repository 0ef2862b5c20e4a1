//! The variables of the environment that flags have.

use std::ffi::OsStr;

/// What the names of variables begin with: `--worker-urls` is `SGL_ROUTER_WORKER_URLS`.
pub(crate) const VARIABLE_PREFIX: &str = "SGL_ROUTER_";

/// The variable of a flag.
pub(crate) fn variable_of(name: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", name.replace('-', "_").to_ascii_uppercase())
}

/// Kubernetes tells each pod where the services of its namespace are: of a service `sgl-router`, in
/// `SGL_ROUTER_PORT`, as `tcp://10.0.0.1:30000`. That is not meant for the router.
pub(crate) fn is_link(name: &str, value: &OsStr) -> bool {
    name == "port" && value.to_str().is_some_and(|value| value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_of_kubernetes_is_no_port() {
        assert!(is_link("port", OsStr::new("tcp://10.0.0.1:30000")));
        assert!(!is_link("port", OsStr::new("30000")));
        assert!(!is_link("worker-urls", OsStr::new("http://w")), "an address is what other flags take");
    }
}
