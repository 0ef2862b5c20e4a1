//! The sockets on which a worker tells what its caches hold: for each rank one that publishes, and one that
//! answers who asks for batches that it missed.
//!
//! | message | frames |
//! |---|---|
//! | published | topic (empty), number of 8 bytes, batch |
//! | asked | empty, number to begin at |
//! | answered | empty, then those three, for each batch that is still held |
//! | answered last | empty, empty, number −1, empty |

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use sgl_zmtp::{Publisher, SocketKind, ZmtpConnection, ZmtpError, ZmtpLimits};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::sim::dialect::Dialect;
use crate::sim::kv_wire::{CacheChange, batch_bytes};

/// Batches that can be asked for again, as in vLLM and SGLang.
pub(crate) const BUFFER_STEPS: usize = 10_000;
/// Batches that a subscriber may be behind. Engines' own is 100,000: memory that a test has no use for.
pub(crate) const DEPTH: usize = 4096;
/// Questions are short.
const QUESTIONS: ZmtpLimits = ZmtpLimits { message_bytes: 1024, frames: 4 };

/// What one rank publishes.
///
/// # Concurrency
/// The lock gives batches their numbers, keeps them and publishes them in that order; it is held for the
/// time that it takes to write one batch.
#[derive(Debug)]
pub(crate) struct KvFeed {
    dialect: Dialect,
    block_tokens: usize,
    rank: u32,
    publisher: Publisher,
    published: Arc<Mutex<Backlog>>,
    replay_port: u16,
    replaying: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Backlog {
    next: u64,
    /// Number and bytes of the latest batches.
    batches: VecDeque<(u64, Bytes)>,
}

impl KvFeed {
    /// Listens on two ports of `host`.
    pub(crate) async fn bind(
        dialect: Dialect,
        block_tokens: usize,
        rank: u32,
        host: &str,
        ports: (u16, u16),
    ) -> io::Result<Self> {
        let publisher = Publisher::bind((host, ports.0), DEPTH).await?;
        let listener = TcpListener::bind((host, ports.1)).await?;
        let replay_port = listener.local_addr()?.port();
        let published: Arc<Mutex<Backlog>> = Arc::default();
        let replaying = tokio::spawn(replay(listener, Arc::clone(&published)));
        Ok(Self { dialect, block_tokens, rank, publisher, published, replay_port, replaying })
    }

    pub(crate) fn port(&self) -> u16 {
        self.publisher.address().port()
    }

    pub(crate) fn replay_port(&self) -> u16 {
        self.replay_port
    }

    /// Tells of changes that were made together.
    pub(crate) fn publish(&self, changes: &[CacheChange]) {
        if changes.is_empty() {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut published = self.published.lock();
        let bytes = batch_bytes(self.dialect, since.as_secs_f64(), changes, self.block_tokens, self.rank);
        let (number, bytes) = (published.next, Bytes::from(bytes));
        published.next += 1;
        if published.batches.len() == BUFFER_STEPS {
            published.batches.pop_front();
        }
        published.batches.push_back((number, bytes.clone()));
        self.publisher.send([Bytes::new(), number_bytes(number), bytes]);
    }
}

impl Drop for KvFeed {
    fn drop(&mut self) {
        self.replaying.abort();
    }
}

pub(crate) fn number_bytes(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

async fn replay(listener: TcpListener, published: Arc<Mutex<Backlog>>) {
    let mut askers = JoinSet::new();
    loop {
        tokio::select! {
            // Out of descriptors, it asks for no more than an asker that comes later.
            Ok((stream, _)) = listener.accept() => {
                askers.spawn(answer(stream, Arc::clone(&published)));
            }
            Some(ended) = askers.join_next() => {
                if let Ok(Err(error)) = ended {
                    tracing::trace!(%error, "who asked for missed batches left");
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, published: Arc<Mutex<Backlog>>) -> Result<(), ZmtpError> {
    let mut asker = ZmtpConnection::begin(stream, SocketKind::Router, QUESTIONS).await?;
    loop {
        let question = asker.recv().await?;
        // An engine writes a line to its log for any other question, and answers nothing.
        let [empty, number] = question.as_slice() else { continue };
        let number = <[u8; 8]>::try_from(number.as_ref()).ok().filter(|_| empty.is_empty());
        let Some(first) = number.map(u64::from_be_bytes) else { continue };
        let missed: Vec<(u64, Bytes)> =
            published.lock().batches.iter().filter(|(number, _)| *number >= first).cloned().collect();
        for (number, bytes) in missed {
            asker.send(&[Bytes::new(), Bytes::new(), number_bytes(number), bytes]).await?;
        }
        asker.send(&[Bytes::new(), Bytes::new(), number_bytes(u64::MAX), Bytes::new()]).await?;
    }
}
