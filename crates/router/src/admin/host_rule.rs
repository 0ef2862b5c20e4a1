//! Tells requests of web pages from requests of operators.
//!
//! A browser lets any page send requests to any address, including the loopback one, and a page whose
//! own name is made to point here (DNS rebinding) may also read the answers. What the browser adds, and
//! the page cannot change, reveals both: `origin` and `sec-fetch-site` the first, and `host`, which then
//! is the page's name, the second.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri, header};

use sgl_api::Problem;
use sglang_router_rs::types::shown;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The names that a listener answers to.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// Whether any IP address is accepted, not only those of loopback: for a listener beyond loopback.
    /// No page has an address as its name.
    any_address: bool,
    /// Further names and addresses, in lower case.
    allowed: Arc<[String]>,
    /// The key that adds to them.
    key: &'static str,
}

impl HostRule {
    /// The rule of a listener at `address`; `allowed` are the names that `key` lists.
    pub fn new(address: IpAddr, allowed: &[String], key: &'static str) -> Self {
        let allowed = allowed.iter().map(|name| plain(name)).collect();
        Self { any_address: !address.is_loopback(), allowed, key }
    }

    /// Lets requests through unless a page of another place sent them.
    ///
    /// # Errors
    ///
    /// 403, with what was found and what to do.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = self.host(uri, headers)?;
        for origin in headers.get_all(header::ORIGIN) {
            if !is_own(origin.as_bytes(), &host) {
                let found = shown(&String::from_utf8_lossy(origin.as_bytes()));
                return Err(foreign_page(&format!("`origin` is {found}")));
            }
        }
        for site in headers.get_all(SEC_FETCH_SITE) {
            if !matches!(site.as_bytes(), b"same-origin" | b"none") {
                let found = shown(&String::from_utf8_lossy(site.as_bytes()));
                return Err(foreign_page(&format!("`sec-fetch-site` is {found}")));
            }
        }
        Ok(())
    }

    /// The authority that the request names; if it names several, all must be allowed.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
        let mut named = uri.authority().cloned();
        for value in headers.get_all(header::HOST) {
            let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            let authority =
                authority.ok_or_else(|| self.foreign_host(&String::from_utf8_lossy(value.as_bytes())))?;
            if !self.admits(authority.host()) {
                return Err(self.foreign_host(authority.as_str()));
            }
            named.get_or_insert(authority);
        }
        let named = named.ok_or_else(|| self.foreign_host(""))?;
        if self.admits(named.host()) { Ok(named) } else { Err(self.foreign_host(named.as_str())) }
    }

    fn admits(&self, host: &str) -> bool {
        let host = plain(host);
        let is_address = |address: IpAddr| self.any_address || address.to_canonical().is_loopback();
        host == "localhost" || host.parse().is_ok_and(is_address) || self.allowed.contains(&host)
    }

    fn foreign_host(&self, found: &str) -> Problem {
        let (found, key) = (shown(found), self.key);
        let addresses = if self.any_address { "an IP address" } else { "a loopback address" };
        let detail = format!(
            "`host` is {found:?}, which this listener does not answer to, so that no web page can use it under \
             a name of its own; call it by {addresses} or `localhost`, or list the name in `{key}`"
        );
        Problem::coded(StatusCode::FORBIDDEN, "foreign_host", detail)
    }
}

fn foreign_page(found: &str) -> Problem {
    let detail = format!("{found}: a web page of another place sent this, and this listener serves none");
    Problem::coded(StatusCode::FORBIDDEN, "foreign_page", detail)
}

/// A host in the form that is compared: in lower case, without brackets and without a dot at its end.
fn plain(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}

/// True if the request was sent to the place that is its origin.
fn is_own(origin: &[u8], host: &Authority) -> bool {
    let text = std::str::from_utf8(origin).unwrap_or_default();
    let place = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    place.is_some_and(|place| place.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn verdict(rule: &HostRule, uri: &'static str, headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        rule.check(&Uri::from_static(uri), &map).err().map_or("passes".to_owned(), |problem| problem.code)
    }

    fn loopback() -> HostRule {
        HostRule::new([127, 0, 0, 1].into(), &["Router.Internal".to_owned()], "admin.allowed_hosts")
    }

    #[test]
    fn only_loopback_and_listed_names_are_answered_to() {
        let rule = loopback();
        for host in [
            "127.0.0.1:29001",
            "127.9.9.9",
            "[::1]:29001",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST:1",
            "localhost.:1",
            "router.internal:29001",
        ] {
            assert_eq!(verdict(&rule, "/", &[("host", host)]), "passes", "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "[::2]",
            "a b",
        ] {
            assert_eq!(verdict(&rule, "/", &[("host", host)]), "foreign_host", "{host}");
        }
        assert_eq!(verdict(&rule, "/", &[]), "foreign_host");
        assert_eq!(verdict(&rule, "/", &[("host", "localhost"), ("host", "evil.example")]), "foreign_host");
        assert_eq!(verdict(&rule, "http://evil.example/", &[("host", "localhost")]), "foreign_host");
    }

    #[test]
    fn listener_beyond_loopback_answers_to_addresses_and_listed_names() {
        let rule = HostRule::new([0, 0, 0, 0].into(), &[], "metrics.allowed_hosts");
        assert_eq!(verdict(&rule, "/", &[("host", "10.1.2.3:29000")]), "passes");
        assert_eq!(verdict(&rule, "/", &[("host", "[fd00::1]:29000")]), "passes");
        assert_eq!(verdict(&rule, "/", &[("host", "evil.example:29000")]), "foreign_host");
    }

    #[test]
    fn pages_of_other_places_are_refused() {
        let rule = loopback();
        let host = ("host", "localhost:29001");
        for (name, value, code) in [
            ("origin", "http://localhost:29001", "passes"),
            ("origin", "https://localhost:29001", "passes"),
            ("origin", "http://localhost:3000", "foreign_page"),
            ("origin", "http://127.0.0.1:29001", "foreign_page"),
            ("origin", "https://evil.example", "foreign_page"),
            ("origin", "null", "foreign_page"),
            ("sec-fetch-site", "none", "passes"),
            ("sec-fetch-site", "same-origin", "passes"),
            ("sec-fetch-site", "same-site", "foreign_page"),
            ("sec-fetch-site", "cross-site", "foreign_page"),
        ] {
            assert_eq!(verdict(&rule, "/", &[host, (name, value)]), code, "{name}: {value}");
        }
    }
}
