//! What is tested: a router, or anything else that speaks OpenAI's API.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use sgl_upstream::{Address, HttpVersion, Outgoing, WorkerTls, WorkerUrl};

/// One address, under the name that reports give it.
#[derive(Clone, Debug)]
pub struct LoadTarget {
    name: String,
    address: Arc<Address>,
    path: Uri,
    headers: HeaderMap,
}

impl LoadTarget {
    /// A target whose requests carry these headers besides `host` and `content-type`. They are of HTTP/1.1, and
    /// `tls` says whom to trust if the URL is one of TLS.
    pub fn new(name: impl Into<String>, url: WorkerUrl, headers: HeaderMap, tls: &Arc<WorkerTls>) -> Self {
        let mut all = HeaderMap::new();
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // An authority is made of characters that a header may have.
        all.extend(HeaderValue::from_str(&url.authority()).into_iter().map(|host| (header::HOST, host)));
        all.extend(headers);
        let address = Arc::new(Address::with(url, tls, HttpVersion::Http1));
        Self { name: name.into(), address, path: Uri::from_static("/v1/chat/completions"), headers: all }
    }

    /// The same with requests for completions, in place of chats.
    #[must_use]
    pub fn of_completions(self) -> Self {
        Self { path: Uri::from_static("/v1/completions"), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    pub fn url(&self) -> &WorkerUrl {
        self.address.url()
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A request with this body.
    pub(crate) fn request(&self, body: Bytes) -> Outgoing {
        let mut request = Request::new(body.into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }
}
