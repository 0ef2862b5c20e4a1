//! The bytes to and from a worker.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection's stream of which the reading end counts when the writing end is broken.
///
/// A worker may answer before it has read a whole request, and close: a body that is too large, a key
/// that is wrong. Its answer has come by then; but whoever writes learns first that nobody reads. So no
/// write fails: what is written into a broken connection waits, and the next read says whether there is
/// an answer. That read never waits, since nothing more can come.
#[derive(Debug)]
pub(crate) struct WorkerStream {
    wire: WorkerWire,
    is_broken: bool,
}

/// What the bytes go over.
#[derive(Debug)]
enum WorkerWire {
    Plain(TokioIo<TcpStream>),
    /// Boxed: it is ten times as large.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

/// The same of each kind.
macro_rules! on_wire {
    ($wire:expr, $io:ident => $done:expr) => {
        match $wire {
            WorkerWire::Plain($io) => $done,
            WorkerWire::Tls($io) => $done,
        }
    };
}

impl WorkerStream {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { wire: WorkerWire::Plain(TokioIo::new(stream)), is_broken: false }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { wire: WorkerWire::Tls(Box::new(TokioIo::new(stream))), is_broken: false }
    }

    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut WorkerWire, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_broken {
            return Poll::Pending;
        }
        match write(&mut self.wire, cx) {
            Poll::Ready(Err(error)) if is_break(&error) => {
                self.is_broken = true;
                // hyper has read before it wrote.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            written => written,
        }
    }
}

/// True if the other side is gone.
fn is_break(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl Read for WorkerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        on_wire!(&mut self.get_mut().wire, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl Write for WorkerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, |wire, cx| on_wire!(wire, io => Pin::new(io).poll_write(cx, bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(cx, |wire, cx| on_wire!(wire, io => Pin::new(io).poll_flush(cx)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is left to be read then.
        on_wire!(&mut self.get_mut().wire, io => Pin::new(io).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        on_wire!(&self.wire, io => io.is_write_vectored())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(cx, |wire, cx| on_wire!(wire, io => Pin::new(io).poll_write_vectored(cx, pieces)))
    }
}
