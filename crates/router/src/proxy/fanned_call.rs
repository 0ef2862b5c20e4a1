//! A call of an operator's to the engine behind one worker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};

use crate::proxy::endpoint::Endpoint;
use crate::proxy::own_questions::NoAnswer;
use crate::proxy::retry::SecondRun;
use sgl_upstream::{Outgoing, Payload};

/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The call, the same for each worker.
#[derive(Clone, Debug)]
pub(crate) struct FannedCall {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl FannedCall {
    /// Sends it once, over a new connection, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if there is none within the limit.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub(crate) async fn ask(
        &self,
        endpoint: &Arc<Endpoint>,
        limit: Duration,
    ) -> Result<(StatusCode, Vec<u8>), NoAnswer> {
        let once = SecondRun::default();
        once.take();
        let asked = async {
            let answer = endpoint.call(|| self.outgoing(endpoint), &once, || false).await;
            let answer = answer.map_err(|error| {
                tracing::debug!(worker = %endpoint.url(), %error, uri = %self.uri);
                NoAnswer::Unreachable
            })?;
            let (head, mut body) = answer.into_parts();
            let whole = body.collect(MAX_ANSWER_BYTES).await.ok_or(NoAnswer::Unusable)?;
            Ok((head.status, whole))
        };
        tokio::time::timeout(limit, asked).await.unwrap_or(Err(NoAnswer::Timeout))
    }

    fn outgoing(&self, endpoint: &Endpoint) -> Outgoing {
        let mut request = Request::new(Payload::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::HOST, endpoint.host().clone());
        endpoint.show_key(request.headers_mut());
        request
    }
}
