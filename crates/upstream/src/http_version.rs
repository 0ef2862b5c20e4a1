//! Which version of HTTP a worker is spoken to in.

use serde::{Deserialize, Serialize};

/// `http_version` of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// Over TLS what the worker picks, else HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2; without TLS with prior knowledge (h2c).
    #[serde(rename = "2")]
    Http2,
}

impl HttpVersion {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Http1 => "1.1",
            Self::Http2 => "2",
        }
    }

    /// True if nothing was said.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// What is offered in the handshake of TLS, the best first.
    pub(crate) fn alpn(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Auto => &[b"h2", b"http/1.1"],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }

    pub(crate) fn of_number(number: u8) -> Self {
        [Self::Http1, Self::Http2].into_iter().find(|version| *version as u8 == number).unwrap_or_default()
    }
}
