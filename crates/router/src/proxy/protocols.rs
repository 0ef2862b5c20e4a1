//! What clients may speak, and what one of them does.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio_rustls::server::TlsStream;

use crate::config::tls_section::Http2Settings;
use crate::proxy::client_io::ClientIo;
use crate::proxy::clients::{Client, Stage};
use crate::proxy::preface::{Unread, read_preface};
use crate::tls::ListenerTls;

/// How long a handshake of TLS may take.
const MAX_HANDSHAKE: Duration = Duration::from_secs(10);

/// What the listener for clients lets them speak.
#[derive(Clone, Debug)]
pub(crate) struct Protocols {
    /// TLS, which they have to speak then.
    pub tls: Option<Arc<ListenerTls>>,
    /// HTTP/2.
    pub http2: Http2Settings,
}

/// A client of which is known what it speaks.
#[derive(Debug)]
pub(crate) enum Spoken {
    /// No TLS.
    Plain(Unread<ClientIo>),
    /// TLS. Boxed: it is large.
    Tls(Box<TlsStream<ClientIo>>),
}

impl Protocols {
    /// True if there is nothing to find out: HTTP/1.1 without TLS.
    pub(crate) fn is_plain_http1(&self) -> bool {
        self.tls.is_none() && !self.http2.cleartext
    }

    /// Finds out what a client speaks: true if HTTP/2. `None` if it does not say so in time, or cannot.
    pub(crate) async fn find_out(&self, io: ClientIo, client: &Client) -> Option<(Spoken, bool)> {
        let Some(tls) = &self.tls else {
            let (io, is_http2) = while_open(client, read_preface(io)).await?.ok()?;
            return Some((Spoken::Plain(io), is_http2));
        };
        let shaken = tokio::time::timeout(MAX_HANDSHAKE, tls.acceptor().accept(io));
        let shaken = while_open(client, shaken).await?;
        match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Some((Spoken::Tls(Box::new(stream)), is_http2))
            }
            Err(error) => {
                tls.failed();
                tracing::debug!(%error, client = ?client.forwarded_for(), "no TLS with a client");
                None
            }
        }
    }
}

/// Does it unless the connection has to close before.
async fn while_open<T>(client: &Client, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut watched = false;
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut watched, true) {
            client.set_waker(cx);
        }
        if client.must_close() || client.clients().is_at_least(Stage::Draining) {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
