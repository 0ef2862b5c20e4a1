//! A request that is told of when it is over.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::proxy::access_log::{AccessLog, RequestAccount};
use crate::proxy::clients::Client;
use crate::proxy::proxy_error::{OwnError, ToldStatus};
use crate::proxy::request_id::REQUEST_ID;

/// Follows a request to its end. If it is dropped before its answer, the client has hung up.
#[derive(Debug)]
pub(crate) struct WatchedRequest {
    /// `None` once it was told of.
    account: Option<Box<RequestAccount>>,
    log: Option<Arc<AccessLog>>,
}

impl WatchedRequest {
    /// From the request's head on; `None` if nobody wants to hear of it.
    pub(crate) fn begin(client: &Client, request: &Request<Incoming>, started: Instant) -> Option<Self> {
        let log = client.proxy().access_log().map(Arc::clone)?;
        let account = RequestAccount::begin(started, client.forwarded_for().clone(), request);
        Some(Self { account: Some(Box::new(account)), log: Some(log) })
    }

    /// The head of the answer is there.
    pub(crate) fn answered<B>(&mut self, response: &Response<B>) {
        let Some(account) = &mut self.account else { return };
        let (extensions, headers) = (response.extensions(), response.headers());
        account.status = response.status().as_u16();
        account.told_status = extensions.get::<ToldStatus>().map(|told| told.0);
        account.error = extensions.get::<OwnError>().map(|error| error.0);
        account.request_id = headers.get(REQUEST_ID).cloned().or_else(|| account.request_id.take());
    }

    /// What is known of the request, to add to.
    pub(crate) fn account(&mut self) -> Option<&mut RequestAccount> {
        self.account.as_deref_mut()
    }

    /// A piece of the answer's body came, of so many bytes.
    pub(crate) fn piece(&mut self, bytes: usize) {
        let Some(account) = &mut self.account else { return };
        account.bytes += bytes as u64;
        if account.first_byte.is_none() {
            account.first_byte = Some(account.started.elapsed());
        }
    }
}

impl Drop for WatchedRequest {
    fn drop(&mut self) {
        let Some(mut account) = self.account.take() else { return };
        account.duration = account.started.elapsed();
        if let Some(log) = &self.log {
            log.write(account);
        }
    }
}
