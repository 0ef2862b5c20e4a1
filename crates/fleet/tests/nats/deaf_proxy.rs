//! Stands before the server, and passes on what clients say while it keeps the answers to itself.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The proxy; its connections end with the runtime.
pub(crate) struct DeafProxy {
    pub(crate) address: SocketAddr,
    is_deaf: watch::Sender<bool>,
}

impl DeafProxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_deaf, state) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(pass(client, server, state.clone()));
            }
        });
        Self { address, is_deaf }
    }

    /// From now on no answer comes through. Connections end when that is over: what was left out is missing.
    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        self.is_deaf.send_replace(is_deaf);
    }
}

async fn pass(client: TcpStream, server: TcpStream, mut is_deaf: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 1 << 16];
    let mut was_deaf = false;
    loop {
        tokio::select! {
            read = from_server.read(&mut buffer) => {
                let Ok(read @ 1..) = read else { break };
                if *is_deaf.borrow() {
                    was_deaf = true;
                } else if to_client.write_all(buffer.get(..read).unwrap()).await.is_err() {
                    break;
                }
            }
            changed = is_deaf.changed() => {
                if changed.is_err() || (was_deaf && !*is_deaf.borrow()) {
                    break;
                }
            }
        }
    }
    there.abort();
}
