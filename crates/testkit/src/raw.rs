//! A worker whose answers a test writes byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sgl_router::config::WorkerEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What a worker does with a request that it has read whole.
#[derive(Debug)]
pub enum Act {
    /// Answers, and waits for the next request.
    Say(String),
    /// Answers, and closes the connection.
    SayAndClose(String),
    /// Closes the connection, as a process does that crashes.
    Crash,
    /// Crashes, and so does everything else of it: nobody listens any more.
    Die,
    /// Answers, and keeps the connection in silence.
    Fall(String),
}

/// A worker. It closes everything when it is dropped.
#[derive(Debug)]
pub struct Raw {
    /// Where it listens.
    pub address: SocketAddr,
    runs: Arc<AtomicUsize>,
    deaf: Arc<Notify>,
    _accepting: JoinSet<()>,
}

type RawScript = Arc<dyn Fn(&str) -> Act + Send + Sync>;

impl Raw {
    /// A worker that does what `script` says with each request.
    pub async fn start(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let runs = Arc::new(AtomicUsize::new(0));
        let mut accepting = JoinSet::new();
        let deaf = Arc::new(Notify::new());
        accepting.spawn(accept(listener, Arc::new(script), Arc::clone(&runs), Arc::clone(&deaf)));
        Self { address, runs, deaf, _accepting: accepting }
    }

    /// Its entry in a configuration.
    pub fn entry(&self) -> WorkerEntry {
        WorkerEntry { url: format!("http://{}", self.address), ..WorkerEntry::default() }
    }

    /// From now on nobody listens; connections go on.
    pub fn stop_listening(&self) {
        self.deaf.notify_one();
    }

    /// Requests that it has read.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, script: RawScript, runs: Arc<AtomicUsize>, deaf: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = deaf.notified() => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                connections.spawn(serve(stream, Arc::clone(&script), Arc::clone(&runs)));
            }
            Some(died) = connections.join_next() => {
                if died.expect("no panic") {
                    return;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// True if the worker is to die.
async fn serve(mut stream: TcpStream, script: RawScript, runs: Arc<AtomicUsize>) -> bool {
    while let Some(request) = read_request(&mut stream).await {
        runs.fetch_add(1, Ordering::SeqCst);
        let (answer, stays) = match script(&request) {
            Act::Say(answer) => (answer, true),
            Act::SayAndClose(answer) => (answer, false),
            Act::Crash => return false,
            Act::Die => return true,
            Act::Fall(answer) => {
                let _ = stream.write_all(answer.as_bytes()).await;
                std::future::pending().await
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || !stays {
            return false;
        }
    }
    false
}

/// A whole request as text; `None` if the router has closed the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
            let length: usize = head.lines().find_map(length).unwrap_or_default();
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
}

/// An answer with a length.
pub fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The head of an event stream and its first chunks.
pub fn events(events: &[&str]) -> String {
    let chunk = |event: &&str| format!("{:x}\r\n{event}\r\n", event.len());
    let chunks: String = events.iter().map(chunk).collect();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
    )
}
