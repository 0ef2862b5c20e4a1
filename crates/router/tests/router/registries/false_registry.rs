//! A registry that answers what a test wants it to.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use parking_lot::Mutex;
use sgl_oci::{ImageManifest, Sha256Digest};
use tokio::net::TcpListener;

/// What was asked for: the method with the path, and the headers.
pub(crate) type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server on loopback.
pub(crate) struct FalseRegistry {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Asked,
}

impl FalseRegistry {
    /// Answers each request by what it asks for, `GET /v2/…`, and by how often that was asked before.
    pub(crate) async fn answering(
        answer: impl Fn(&str, usize, &HeaderMap) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        let service = Router::new().fallback(move |request: Request| {
            let what = format!("{} {}", request.method(), request.uri().path());
            let mut log = log.lock();
            let before = log.iter().filter(|(other, _)| *other == what).count();
            let answer = answer(&what, before, request.headers());
            log.push((what, request.headers().clone()));
            std::future::ready(answer)
        });
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, asked }
    }

    pub(crate) fn named(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    /// What was asked for, in this order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(what, _)| what.clone()).collect()
    }
}

/// An answer with a status and a body.
pub(crate) fn with_status(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).expect("an answer")
}

/// An answer with a media type.
pub(crate) fn with_type(media_type: &str, body: impl Into<Body>) -> Response {
    Response::builder().header("content-type", media_type).body(body.into()).expect("an answer")
}

/// One that sends elsewhere.
pub(crate) fn sending_to(location: &str) -> Response {
    Response::builder().status(307).header("location", location).body(Body::empty()).expect("an answer")
}

/// What a registry answers that holds one module, as `p:1`.
pub(crate) fn holding(wasm: &[u8], what: &str) -> Response {
    match what {
        "GET /v2/p/manifests/1" => with_status(200, manifest_of(wasm)),
        what if what == format!("GET /v2/p/blobs/{}", Sha256Digest::of(wasm)) => {
            with_status(200, wasm.to_vec())
        }
        _ => with_status(404, "no"),
    }
}

/// A manifest of a module.
pub(crate) fn manifest_of(wasm: &[u8]) -> String {
    let (layer, config) = (Sha256Digest::of(wasm), Sha256Digest::of(b"{}"));
    let text = format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.wasm.config.v1+json", "digest": "{config}",
            "size": 2}}, "layers": [{{"mediaType": "application/vnd.wasm.content.layer.v1+wasm",
            "digest": "{layer}", "size": {}}}]}}"#,
        wasm.len()
    );
    ImageManifest::read(text.as_bytes(), None, "this").expect("a manifest");
    text
}
