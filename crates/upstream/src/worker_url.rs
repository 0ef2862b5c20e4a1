//! The address of a worker.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Base URL of a worker in its normal form: `http://host[:port]` or `https://host[:port]`, so that one
/// worker is one text.
///
/// The scheme and the host are in lower case; the scheme's own port (80, 443) is left out, and so are zeros
/// before a port;
/// an IPv6 address is in its shortest form, and one that only wraps an IPv4 address is that;
/// `localhost.` is `localhost`. Another name that ends in a dot keeps it: resolvers do not complete
/// it, so it may be another host. Names are not resolved: a name and its address are two workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerUrl {
    scheme: UrlScheme,
    host: String,
    port: u16,
}

/// Longest name of a host in bytes, a dot at its end included (RFC 1035).
const MAX_NAME_BYTES: usize = 254;

/// How a worker's URL begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlScheme {
    Http,
    Https,
}

impl UrlScheme {
    fn named(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where none is given.
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a text is not a worker's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`http://host`, `http://host:port` or the same with `https`, without user, path or query")]
pub struct WorkerUrlError;

impl WorkerUrl {
    /// Takes a URL apart and brings it into its normal form. One slash at the end is dropped.
    ///
    /// # Errors
    ///
    /// [`WorkerUrlError`] says what a URL may look like.
    pub fn parse(text: &str) -> Result<Self, WorkerUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(WorkerUrlError)?;
        let scheme = UrlScheme::named(scheme).ok_or(WorkerUrlError)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // The closing bracket of an IPv6 address ends the host; its colons do not.
        let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let colon = authority.get(host_end..).and_then(|rest| rest.find(':')).map(|at| at + host_end);
        let (host, port) = match colon {
            Some(at) => (authority.get(..at), authority.get(at + 1..)),
            None => (Some(authority), None),
        };
        let host = host.and_then(normal_host).ok_or(WorkerUrlError)?;
        let port = port.map_or(Some(scheme.port()), number).ok_or(WorkerUrlError)?;
        Ok(Self { scheme, host, port })
    }

    /// A text that is no worker's URL, as it may be shown: without user, password, query and
    /// fragment, any of which may hold a secret.
    pub fn refused(text: &str) -> String {
        let shown = without_user(text);
        match shown.find(['?', '#']) {
            Some(at) => format!("{}…", shown.get(..=at).unwrap_or_default()),
            None => shown,
        }
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

    /// True if it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == UrlScheme::Https
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme.as_str()
    }

    /// Host, and port if it is not the scheme's own: the value of a `host` header.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

/// A text in which a URL may stand, percent-encoded or not, with `***` in the place of its user and
/// password. Rather hides too much than too little: everything from behind the scheme, or from the
/// beginning, to the last `@`.
pub fn without_user(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.rfind('@').max(lower.rfind("%40")) else { return text.to_owned() };
    let before = lower.get(..at).unwrap_or_default();
    let starts = ["://", "%3a%2f%2f", "url="];
    let start = starts.iter().find_map(|start| before.find(start).map(|found| found + start.len()));
    let part = |range: Option<&str>| range.unwrap_or_default().to_owned();
    part(text.get(..start.unwrap_or(0))) + "***" + &part(text.get(at..))
}

fn number(port: &str) -> Option<u16> {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| is_number && *port != 0)
}

/// The one spelling of a host; none if it is no host.
fn normal_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
    }
    let is_name = host.len() <= MAX_NAME_BYTES
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let bare = host.strip_suffix('.').unwrap_or(host);
    if !is_name || bare.is_empty() {
        return None;
    }
    // Resolvers read `127.1`, `0x7f000001` and `2130706433` as addresses too: three more spellings.
    let last = bare.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
        return bare.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    let name = host.to_ascii_lowercase();
    Some(if name == "localhost." { "localhost".to_owned() } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_host_is_as_long_as_names_may_be() {
        let named = |bytes: usize| WorkerUrl::parse(&format!("http://{}", "h".repeat(bytes)));
        assert!(named(MAX_NAME_BYTES).is_ok());
        assert_eq!(named(MAX_NAME_BYTES + 1), Err(WorkerUrlError));
    }

    #[test]
    fn url_is_taken_apart() {
        for (text, host, bare, port, shown) in [
            ("http://w:30000", "w", "w", 30000, "http://w:30000"),
            ("http://10.0.0.7", "10.0.0.7", "10.0.0.7", 80, "http://10.0.0.7"),
            ("http://w.example/", "w.example", "w.example", 80, "http://w.example"),
            ("http://[::1]:8000/", "[::1]", "::1", 8000, "http://[::1]:8000"),
            ("http://w.example.:8000", "w.example.", "w.example.", 8000, "http://w.example.:8000"),
            ("https://w", "w", "w", 443, "https://w"),
            ("https://w:80", "w", "w", 80, "https://w:80"),
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
            "ftp://w",
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
            "http://w:+80",
            "http://.",
            "http://127.1",
            "http://2130706433",
            "http://0x7f.0.0.1",
            "http://010.0.0.1",
        ] {
            assert_eq!(WorkerUrl::parse(text), Err(WorkerUrlError), "{text}");
        }
    }

    #[test]
    fn spellings_of_one_address_have_one_normal_form() {
        for (normal, spellings) in [
            ("http://w", &["http://w:80", "HTTP://W", "http://w/", "http://W:080/"][..]),
            ("http://w:8000", &["http://w:08000", "hTTp://w:8000/"]),
            ("https://w", &["https://w:443", "HTTPS://W/"]),
            ("http://localhost:8000", &["http://LOCALHOST:8000", "http://localhost.:8000"]),
            ("http://[::1]", &["http://[0:0:0:0:0:0:0:1]:80", "http://[::0001]"]),
            ("http://[fe80::ab]:1", &["http://[FE80:0::AB]:1"]),
            (
                "http://10.0.0.1:1",
                &["http://[::ffff:10.0.0.1]:1", "http://[::FFFF:a00:1]:1", "http://10.0.0.1.:1"],
            ),
        ] {
            for text in spellings {
                assert_eq!(WorkerUrl::parse(text).unwrap().to_string(), normal, "{text}");
            }
        }
    }

    #[test]
    fn refused_url_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("https://user:secret@w:1/v1", "https://***@w:1/v1"),
            ("http://user:sec@ret/?#x@w", "http://***@w"),
            ("user:secret@w", "***@w"),
            ("http://user:secret%40w", "http://***%40w"),
            ("http://w/v1?api_key=secret", "http://w/v1?…"),
            ("http://w#secret", "http://w#…"),
            ("https://w:99999", "https://w:99999"),
        ] {
            assert_eq!(WorkerUrl::refused(text), shown);
        }
        let change = "POST /workers/drain?url=http%3A%2F%2Fuser%3Asecret%40w";
        assert_eq!(without_user(change), "POST /workers/drain?url=http%3A%2F%2F***%40w");
        assert_eq!(without_user("DELETE /workers?url=user:secret@w"), "DELETE /workers?url=***@w");
    }
}
