//! The bytes to and from a worker.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection's stream of which the reading end counts when the writing end is broken.
///
/// A worker may answer before it has read a whole request, and close: a body that is too large, a key
/// that is wrong. Its answer has come by then; but whoever writes learns first that nobody reads. So no
/// write fails: what is written into a broken connection waits, and the next read says whether there is
/// an answer. That read never waits, since nothing more can come.
#[derive(Debug)]
pub(crate) struct WorkerStream {
    io: TokioIo<TcpStream>,
    is_broken: bool,
}

impl WorkerStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { io: TokioIo::new(stream), is_broken: false }
    }

    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TokioIo<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_broken {
            return Poll::Pending;
        }
        match write(Pin::new(&mut self.io), cx) {
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
        Pin::new(&mut self.get_mut().io).poll_read(cx, buffer)
    }
}

impl Write for WorkerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, |io, cx| io.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is left to be read then.
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, |io, cx| io.poll_write_vectored(cx, pieces))
    }
}
