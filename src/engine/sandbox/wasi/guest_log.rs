//! A guest's stdout and stderr, line by line into the plugin's log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::engine::sandbox::last_words::LastWords;
use crate::engine::sandbox::services::HostServices;

/// Longest line, in bytes; a longer one is logged in pieces.
const MAX_LINE_BYTES: usize = 1024;

/// One output stream of one guest.
#[derive(Clone)]
pub(crate) struct GuestLog {
    services: Arc<dyn HostServices>,
    level: u8,
    // Shared: WASI asks for the stream more than once, and all are the same stream.
    line: Arc<Mutex<Vec<u8>>>,
    /// Where to report panics, if a guest writes them to this stream.
    words: Option<Arc<Mutex<LastWords>>>,
}

impl GuestLog {
    pub(crate) fn new(
        services: Arc<dyn HostServices>,
        level: u8,
        words: Option<Arc<Mutex<LastWords>>>,
    ) -> Self {
        Self { services, level, line: Arc::default(), words }
    }

    fn take(&self, bytes: &[u8]) {
        let mut line = self.line.lock();
        for byte in bytes {
            let full = line.len() >= MAX_LINE_BYTES;
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || full {
                let text = String::from_utf8_lossy(&line);
                self.services.log(self.level, &text);
                if let Some(words) = &self.words {
                    words.lock().hear(&text);
                }
                drop(text);
                line.clear();
            }
        }
    }
}

impl fmt::Debug for GuestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestLog").field("level", &self.level).finish_non_exhaustive()
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestLog {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
