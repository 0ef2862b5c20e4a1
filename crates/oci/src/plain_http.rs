//! Which registries are spoken to without TLS.

use std::net::IpAddr;

use sgl_upstream::WorkerUrl;

/// Which registries are spoken to without TLS, besides those at loopback addresses and `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// No others.
    #[default]
    Loopback,
    /// These: `HOST` or `HOST:PORT`, as references have them.
    Hosts(Vec<String>),
    /// All.
    Everywhere,
}

impl PlainHttp {
    /// True if this host, with its port if one is written, is spoken to without TLS.
    pub fn is_for(&self, host: &str) -> bool {
        self.names(host) || is_loopback(host)
    }

    /// True if an operator has said so of this host.
    pub(crate) fn names(&self, host: &str) -> bool {
        match self {
            Self::Loopback => false,
            Self::Hosts(hosts) => hosts.iter().any(|one| one.eq_ignore_ascii_case(host)),
            Self::Everywhere => true,
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let Ok(url) = WorkerUrl::parse(&format!("http://{host}")) else { return false };
    let address = url.bare_host().parse::<IpAddr>();
    url.host() == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_what_is_listed_is_plain() {
        let hosts = PlainHttp::Hosts(vec!["r.lan:5000".to_owned()]);
        for host in ["127.0.0.1:5000", "[::1]", "localhost:80", "127.8.9.1"] {
            assert!(PlainHttp::Loopback.is_for(host) && hosts.is_for(host), "{host}");
        }
        for host in ["r.lan", "r.lan:443", "localhost.example", "10.0.0.1", "127.0.0.1.example"] {
            assert!(!PlainHttp::Loopback.is_for(host) && !hosts.is_for(host), "{host}");
        }
        assert!(hosts.is_for("R.lan:5000") && PlainHttp::Everywhere.is_for("r.lan"));
    }
}
