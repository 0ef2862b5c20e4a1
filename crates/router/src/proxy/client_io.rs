//! A client's socket, watched for a hang-up behind bytes that nobody reads yet.
//!
//! While a request is answered, hyper reads only as long as it holds no byte of what comes behind it.
//! A client that has sent more (a second request, a stray line feed) and hangs up then is not noticed.
//! The system tells it all the same: the sweeper of [`crate::proxy::clients`] asks for a look, which is
//! taken at the next flush, since hyper flushes whenever it is polled.

use std::io;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::clients::Client;

/// The socket.
#[derive(Debug)]
pub(crate) struct ClientIo {
    stream: TcpStream,
    client: Arc<Client>,
}

impl ClientIo {
    pub(crate) fn new(stream: TcpStream, client: Arc<Client>) -> Self {
        Self { stream, client }
    }

    /// True if the other side sends no more. Bytes may still be there to be read.
    fn is_hung_up(&self) -> bool {
        let ready = pin!(self.stream.ready(Interest::READABLE));
        let polled = ready.poll(&mut Context::from_waker(Waker::noop()));
        matches!(polled, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.client.set_listening(polled.is_pending());
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.takes_look() && self.is_hung_up() {
            self.client.hang_up();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
