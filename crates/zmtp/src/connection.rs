//! A connection between two sockets.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::frames::{FrameReader, Incoming, ZmtpError, ZmtpLimits, put_message};
use crate::handshake::{GREETING_BYTES, SocketKind, check_greeting, check_ready, opening};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// A connection past its handshake.
#[derive(Debug)]
pub struct ZmtpConnection {
    stream: TcpStream,
    buffer: BytesMut,
    reader: FrameReader,
}

impl ZmtpConnection {
    /// Connects to a socket that was bound. How long that may take is for the caller to bound.
    ///
    /// # Errors
    /// Nobody listens there, or who does is no such socket.
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, the connection is closed.
    pub async fn connect(
        address: impl ToSocketAddrs,
        kind: SocketKind,
        limits: ZmtpLimits,
    ) -> Result<Self, ZmtpError> {
        Self::begin(TcpStream::connect(address).await?, kind, limits).await
    }

    /// Goes through the handshake on a connection, whoever made it.
    ///
    /// # Errors
    /// The peer speaks another protocol, or its kind does not go with ours.
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, the connection is closed.
    pub async fn begin(
        mut stream: TcpStream,
        kind: SocketKind,
        limits: ZmtpLimits,
    ) -> Result<Self, ZmtpError> {
        // An event must not wait for the acknowledgement of the one before it.
        stream.set_nodelay(true)?;
        stream.write_all(&opening(kind)).await?;
        let buffer = BytesMut::with_capacity(READ_BYTES);
        let mut connection = Self { stream, buffer, reader: FrameReader::new(limits) };
        while connection.buffer.len() < GREETING_BYTES {
            // Who speaks another protocol may wait for more than it says.
            if connection.buffer.first().is_some_and(|first| *first != 0xFF) {
                return Err(ZmtpError::Protocol { what: "the greeting has another signature" });
            }
            connection.read().await?;
        }
        check_greeting(&connection.buffer.split_to(GREETING_BYTES))?;
        match connection.incoming().await? {
            Incoming::Command(command) => check_ready(kind, &command)?,
            Incoming::Message(_) => return Err(ZmtpError::Protocol { what: "a message before READY" }),
        }
        Ok(connection)
    }

    /// Asks a publisher for all messages whose first frame begins with `topic`.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn subscribe(&mut self, topic: &[u8]) -> Result<(), ZmtpError> {
        let mut subscription = BytesMut::from(&[1][..]);
        subscription.extend_from_slice(topic);
        self.send(&[subscription]).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection failed.
    ///
    /// # Cancel safety
    /// Not safe: dropped before it returns, a part of the message may have been sent, and the connection
    /// is of no use any more.
    pub async fn send<F: AsRef<[u8]>>(&mut self, frames: &[F]) -> Result<(), ZmtpError> {
        let mut out = BytesMut::new();
        put_message(&mut out, frames);
        Ok(self.stream.write_all(&out).await?)
    }

    /// The frames of the next message.
    ///
    /// # Errors
    /// The connection failed or was closed, or the peer sent too much or what is not the protocol. There
    /// is nothing more to receive then.
    ///
    /// # Cancel safety
    /// Safe: what was read of a message is kept.
    pub async fn recv(&mut self) -> Result<Vec<Bytes>, ZmtpError> {
        loop {
            // Commands after READY are of versions that we did not announce.
            if let Incoming::Message(frames) = self.incoming().await? {
                return Ok(frames);
            }
        }
    }

    async fn incoming(&mut self) -> Result<Incoming, ZmtpError> {
        loop {
            if let Some(incoming) = self.reader.next(&mut self.buffer)? {
                return Ok(incoming);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), ZmtpError> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ZmtpError::Io(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }
}
