//! Who may use a listener: whoever has the token or, without a token, whoever is not a web page.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::admin::host_rule::HostRule;
use sgl_api::{Problem, problem_code};

const SCHEME: &[u8] = b"Bearer";

const DIGEST_BYTES: usize = 32;

/// Lets requests with the right bearer token through, whatever host they name: no web page has the
/// token. Without a token, lets everything through that no web page sent.
#[derive(Clone, Debug)]
pub enum Guard {
    /// Asks for a token.
    Token(TokenDigest),
    /// Asks where the request comes from.
    Hosts(HostRule),
}

/// Only a digest, so that the time of a comparison reveals nothing of the token. Clones are of one token: all
/// of them take another one at the same time.
#[derive(Clone, Debug)]
pub struct TokenDigest(Arc<ArcSwap<[u8; DIGEST_BYTES]>>);

impl Guard {
    /// The guard for a token, or for `hosts` if there is none.
    pub fn new(token: Option<&str>, hosts: HostRule) -> Self {
        token.map_or(Self::Hosts(hosts), Self::for_token)
    }

    /// The guard for a token.
    pub fn for_token(token: &str) -> Self {
        Self::Token(TokenDigest::of(token))
    }

    /// The token that is asked for, if one is.
    pub(crate) fn token(&self) -> Option<&TokenDigest> {
        match self {
            Self::Token(token) => Some(token),
            Self::Hosts(_) => None,
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        match self {
            Self::Token(expected) if expected.is_shown(request.headers().get(header::AUTHORIZATION)) => {
                Ok(())
            }
            Self::Token(_) => {
                let is_shown = request.headers().contains_key(header::AUTHORIZATION);
                let detail = if is_shown {
                    "the token that was shown is not this router's; send the admin token as `authorization: Bearer …`"
                } else {
                    "send the admin token as `authorization: Bearer …`"
                };
                Err(Problem::coded(StatusCode::UNAUTHORIZED, problem_code::UNAUTHORIZED, detail))
            }
            Self::Hosts(rule) => rule.check(request.uri(), request.headers()),
        }
    }
}

impl TokenDigest {
    fn of(token: &str) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(digest(token.as_bytes()))))
    }

    /// From now on this token is the right one, and no other.
    pub(crate) fn set(&self, token: &str) {
        self.0.store(Arc::new(digest(token.as_bytes())));
    }

    fn is_shown(&self, header: Option<&HeaderValue>) -> bool {
        let token = header.and_then(|header| {
            let (scheme, token) = header.as_bytes().split_at_checked(SCHEME.len())?;
            // Schemes are case-insensitive, with at least one space behind them (RFC 9110, 11.4).
            scheme.eq_ignore_ascii_case(SCHEME).then(|| token.strip_prefix(b" "))?
        });
        token.map(<[u8]>::trim_ascii_start).is_some_and(|token| digest(token) == **self.0.load())
    }
}

fn digest(token: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::digest(token).into()
}

/// The middleware.
pub async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Err(problem) = guard.check(&request) else { return next.run(request).await };
    let mut refused = problem.into_response();
    if refused.status() == StatusCode::UNAUTHORIZED {
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_is_let_through() {
        let expected = TokenDigest::of("secret");
        let admits = |value: &'static str| expected.is_shown(Some(&HeaderValue::from_static(value)));
        assert!(admits("Bearer secret") && admits("bearer secret") && admits("BEARER  secret"));
        assert!(!admits("Bearersecret") && !admits("Basic secret") && !admits("bearer"));
        assert!(
            !admits("Bearer secre") && !admits("Bearer secret2") && !admits("secret") && !admits("Bearer ")
        );
        assert!(!expected.is_shown(None));
        expected.clone().set("other");
        assert!(admits("Bearer other") && !admits("Bearer secret"));
    }
}
