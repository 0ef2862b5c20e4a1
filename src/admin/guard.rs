//! Who may use the operations API.

use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use sha2::Digest;
use sha2::Sha256;

use crate::admin::problem::Problem;

/// Lets requests with the right bearer token through; all of them if there is no token.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Only a digest, so that comparing it tells nothing of the token by the time it takes.
    digest: Option<Arc<[u8]>>,
}

impl Guard {
    /// `None` lets everybody through: for loopback.
    pub fn new(token: Option<&str>) -> Self {
        Self { digest: token.map(|token| digest(token.as_bytes())) }
    }

    fn admits(&self, header: Option<&HeaderValue>) -> bool {
        let Some(expected) = &self.digest else { return true };
        let token = header.and_then(|header| header.as_bytes().strip_prefix(b"Bearer "));
        token.is_some_and(|token| digest(token) == *expected)
    }
}

fn digest(token: &[u8]) -> Arc<[u8]> {
    Sha256::digest(token).as_slice().into()
}

/// The middleware.
pub async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers().get(header::AUTHORIZATION)) {
        return next.run(request).await;
    }
    let mut refused =
        Problem::new(StatusCode::UNAUTHORIZED, "send the admin token as `authorization: Bearer …`")
            .into_response();
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_is_let_through() {
        let guard = Guard::new(Some("secret"));
        let admits = |value: &'static str| guard.admits(Some(&HeaderValue::from_static(value)));
        assert!(admits("Bearer secret"));
        assert!(
            !admits("Bearer secre") && !admits("Bearer secret2") && !admits("secret") && !admits("Bearer ")
        );
        assert!(!guard.admits(None));
        assert!(Guard::new(None).admits(None));
    }
}
