//! The address of a worker.

use std::fmt;

/// Base URL of a worker, taken apart: `http://host[:port]`, port 80 if none is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerUrl {
    host: String,
    port: u16,
    has_port: bool,
}

/// Why a text is not a worker's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`http://host` or `http://host:port`, without user, path or query; workers are reached without TLS")]
pub struct WorkerUrlError;

impl WorkerUrl {
    /// Takes a URL apart. One slash at the end is dropped.
    ///
    /// # Errors
    ///
    /// [`WorkerUrlError`] says what a URL may look like.
    pub fn parse(text: &str) -> Result<Self, WorkerUrlError> {
        let rest = text.strip_prefix("http://").ok_or(WorkerUrlError)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // The closing bracket of an IPv6 address ends the host; its colons do not.
        let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let colon = authority.get(host_end..).and_then(|rest| rest.find(':')).map(|at| at + host_end);
        let (host, port) = match colon {
            Some(at) => (authority.get(..at), authority.get(at + 1..)),
            None => (Some(authority), None),
        };
        let host = host.filter(|host| is_host(host)).ok_or(WorkerUrlError)?;
        let number = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(WorkerUrlError)?,
            None => 80,
        };
        Ok(Self { host: host.to_owned(), port: number, has_port: port.is_some() })
    }

    /// Name or address; an IPv6 address has its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Name or address as resolvers take it, without brackets.
    pub fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host, and port if one was given: the value of a `host` header.
    pub fn authority(&self) -> String {
        if self.has_port { format!("{}:{}", self.host, self.port) } else { self.host.clone() }
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let digits = address.strip_suffix(']').unwrap_or_default();
        return digits.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        for (text, host, bare, port, shown) in [
            ("http://w:30000", "w", "w", 30000, "http://w:30000"),
            ("http://10.0.0.7", "10.0.0.7", "10.0.0.7", 80, "http://10.0.0.7"),
            ("http://w.example/", "w.example", "w.example", 80, "http://w.example"),
            ("http://[::1]:8000/", "[::1]", "::1", 8000, "http://[::1]:8000"),
        ] {
            let url = WorkerUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.bare_host(), url.port()), (host, bare, port));
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn url_with_anything_more_or_less_is_refused() {
        for text in [
            "",
            "w:30000",
            "https://w",
            "http://",
            "http://w:0",
            "http://w:99999",
            "http://w:",
            "http://w/v1",
            "http://u:p@w",
            "http://w?x",
            "http://[::1",
            "http://[x]:1",
            "http://w w",
        ] {
            assert_eq!(WorkerUrl::parse(text), Err(WorkerUrlError), "{text}");
        }
    }
}
