//! Where requests go: a host, and the path and query there.

use std::fmt;

use http::Uri;
use sgl_upstream::WorkerUrl;

use crate::plain_http::PlainHttp;
use crate::registry_error::RegistryError;

/// A place at a registry, or one that it sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryUrl {
    pub(crate) host: WorkerUrl,
    /// Path and query.
    pub(crate) target: String,
}

impl RegistryUrl {
    /// What a registry calls a place of its own or another: an absolute URL, or a path.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Malformed`], or [`RegistryError::Plain`] if it would be reached without TLS and
    /// may not.
    pub(crate) fn follow(&self, location: &str, plain: &PlainHttp) -> Result<Self, RegistryError> {
        if location.starts_with('/') && !location.starts_with("//") {
            let target = location.split('#').next().unwrap_or_default();
            return Ok(Self { host: self.host.clone(), target: target.to_owned() });
        }
        let found = Self::parse(location)?;
        let authority = found.host.authority();
        // A registry elsewhere has no business with what listens at loopback here.
        let may_be_plain =
            if self.host.is_tls() { plain.names(&authority) } else { plain.is_for(&authority) };
        if !found.host.is_tls() && found.host != self.host && !may_be_plain {
            return Err(RegistryError::Plain { url: found.to_string() });
        }
        Ok(found)
    }

    /// An absolute URL.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Malformed`].
    pub(crate) fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = || RegistryError::Malformed {
            what: format!("the URL {:?}", WorkerUrl::refused(text)),
            reason: "expected http:// or https://, a host and a path".to_owned(),
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(wrong)?;
        let host = WorkerUrl::parse(&format!("{scheme}://{authority}")).map_err(|_| wrong())?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { host, target })
    }

    /// The same with one more parameter.
    pub(crate) fn with_query(&self, name: &str, value: &str) -> Self {
        let more: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        let sign = if self.target.contains('?') { '&' } else { '?' };
        Self { host: self.host.clone(), target: format!("{}{sign}{more}", self.target) }
    }
}

/// Without the query, which may hold a signed permission.
impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.target.split('?').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_may_send_elsewhere_with_tls_only() {
        let from = RegistryUrl::parse("https://r.example/v2/p/blobs/x").unwrap();
        let to = |location: &str| from.follow(location, &PlainHttp::Loopback);
        assert_eq!(to("/v2/q?a=b").unwrap(), RegistryUrl::parse("https://r.example/v2/q?a=b").unwrap());
        assert_eq!(to("https://s.example/y").unwrap().to_string(), "https://s.example/y");
        for plain in ["http://s.example/y", "http://127.0.0.1:29001/y"] {
            assert!(matches!(to(plain), Err(RegistryError::Plain { .. })), "{plain}");
        }
        let here = RegistryUrl::parse("http://127.0.0.1:5000/v2/").unwrap();
        assert!(here.follow("http://127.0.0.1:5001/token", &PlainHttp::Loopback).is_ok());
        for wrong in ["", "y", "//s.example/y", "ftp://s.example/y", "https://u:p@s.example/y"] {
            assert!(matches!(to(wrong), Err(RegistryError::Malformed { .. })), "{wrong}");
        }
        let hosts = PlainHttp::Hosts(vec!["s.example".to_owned()]);
        assert!(from.follow("http://s.example/y", &hosts).is_ok());
        assert_eq!(from.with_query("digest", "sha256:a").target, "/v2/p/blobs/x?digest=sha256%3Aa");
    }
}
