//! ZeroMQ's wire protocol, [ZMTP 3.0](https://rfc.zeromq.org/spec/23/), over TCP, as far as inference
//! engines use it: they publish events (PUB) that others subscribe to (SUB), and answer who asks for
//! events that it missed (ROUTER, asked by DEALER).
//!
//! Every length that a peer announces is checked against [`ZmtpLimits`] before anything is reserved for it.
//! There is no security mechanism (engines have NULL only), no other transport, no reconnecting and no
//! queue of what is to be sent: a connection that fails says so, and its owner, who has to ask for missed
//! events then anyway, makes another.
//!
//! ```text
//!            greeting 64 bytes ─►◄─ greeting      version 3.0, mechanism NULL
//!     READY command with its kind ─►◄─ READY      SUB to PUB, DEALER to ROUTER
//!   SUB: message 0x01 + topic ─►                  a prefix of the first frame; "" is everything
//!                              ◄─ messages        of one frame or several
//! ```

mod frames;
mod handshake;
mod connection;
mod publisher;

pub use connection::ZmtpConnection;
pub use frames::{ZmtpError, ZmtpLimits};
pub use handshake::SocketKind;
pub use publisher::Publisher;
