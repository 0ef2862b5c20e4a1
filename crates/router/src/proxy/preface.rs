//! Whether a client without TLS speaks HTTP/2: it says so with its first bytes (RFC 9113, section 3.4).

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// No request of HTTP/1.1 begins like this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes were read, and are still to be given out.
#[derive(Debug)]
pub(crate) struct Unread<T> {
    first: Bytes,
    io: T,
}

/// Reads as far as it takes to tell. True if it is HTTP/2. A client that sends nothing is waited for.
pub(crate) async fn read_preface<T: AsyncRead + Unpin>(mut io: T) -> io::Result<(Unread<T>, bool)> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&first) && first.len() < PREFACE.len() {
        let mut limited = (&mut io).take((PREFACE.len() - first.len()) as u64);
        if limited.read_buf(&mut first).await? == 0 {
            break;
        }
    }
    let is_http2 = first == PREFACE;
    Ok((Unread { first: first.into(), io }, is_http2))
}

impl<T: AsyncRead + Unpin> AsyncRead for Unread<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..length).unwrap_or_default());
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Unread<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is told of these bytes, which come one by one, and what is read afterwards.
    async fn told(bytes: &[u8]) -> (bool, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(1);
        let (read, ()) = tokio::join!(
            async {
                let (mut unread, is_http2) = read_preface(server).await.unwrap();
                let mut all = Vec::new();
                unread.read_to_end(&mut all).await.unwrap();
                (is_http2, all)
            },
            async {
                client.write_all(bytes).await.unwrap();
                client.shutdown().await.unwrap();
            }
        );
        read
    }

    #[tokio::test]
    async fn first_bytes_tell_the_version_and_are_given_out_all_the_same() {
        for (bytes, expected) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes"[..], true),
            (b"POST / HTTP/1.1\r\n\r\n", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", false),
            (b"PRI *", false),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"", false),
        ] {
            assert_eq!(told(bytes).await, (expected, bytes.to_vec()));
        }
    }
}
