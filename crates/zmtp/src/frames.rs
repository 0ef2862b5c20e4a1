//! Frames: a flag byte, a length, and so many bytes. Several make a message.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// More frames of this message follow.
const MORE: u8 = 1;
/// The length has eight bytes, not one.
const LONG: u8 = 2;
/// The frame is a command, not part of a message.
const COMMAND: u8 = 4;

/// What a peer may send. A message that is larger ends the connection before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZmtpLimits {
    /// Bytes of all frames of one message.
    pub message_bytes: usize,
    /// Frames of one message.
    pub frames: usize,
}

impl Default for ZmtpLimits {
    /// 16 MiB in 16 frames.
    fn default() -> Self {
        Self { message_bytes: 16 << 20, frames: 16 }
    }
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZmtpError {
    /// The connection failed, or its peer closed it (kind `UnexpectedEof`).
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer sent what is not the protocol.
    #[error("not ZMTP 3: {what}")]
    Protocol {
        /// What was wrong.
        what: &'static str,
    },
    /// The peer announced more than [`ZmtpLimits`] allow.
    #[error("a message of {announced} bytes or more, or of too many frames; at most {limit} bytes are taken")]
    TooLarge {
        /// Bytes of the message so far and of the frame that was announced.
        announced: u64,
        /// The limit.
        limit: usize,
    },
}

/// What was read whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Frames of a message, at least one.
    Message(Vec<Bytes>),
    /// The body of a command.
    Command(Bytes),
}

/// Puts frames together from bytes that arrive in pieces.
#[derive(Debug)]
pub(crate) struct FrameReader {
    limits: ZmtpLimits,
    /// Frames of a message whose end has not come.
    frames: Vec<Bytes>,
    bytes: usize,
}

impl FrameReader {
    /// A reader at the start of a frame.
    pub(crate) fn new(limits: ZmtpLimits) -> Self {
        Self { limits, frames: Vec::new(), bytes: 0 }
    }

    /// Takes the next message or command off the front of `buffer`; none if more bytes are needed. What
    /// is left in `buffer` then is less than one frame, and no more is to be reserved than the limits.
    ///
    /// # Errors
    /// A frame that is too long, or that has flags which do not exist.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, ZmtpError> {
        while let Some((flags, header, length)) = self.header(buffer)? {
            if buffer.len() - header < length {
                return Ok(None);
            }
            buffer.advance(header);
            let frame = buffer.split_to(length).freeze();
            if flags & COMMAND != 0 {
                return Ok(Some(Incoming::Command(frame)));
            }
            self.bytes += length;
            self.frames.push(frame);
            if flags & MORE == 0 {
                self.bytes = 0;
                return Ok(Some(Incoming::Message(std::mem::take(&mut self.frames))));
            }
        }
        Ok(None)
    }

    /// Flags, bytes of the header and bytes of the frame that `buffer` begins with.
    fn header(&self, buffer: &BytesMut) -> Result<Option<(u8, usize, usize)>, ZmtpError> {
        let mut front = buffer.as_ref();
        if front.len() < 2 {
            return Ok(None);
        }
        let flags = front.get_u8();
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & COMMAND != 0 && flags & MORE != 0 {
            return Err(ZmtpError::Protocol { what: "a frame has unknown flags" });
        }
        let length = if flags & LONG == 0 {
            u64::from(front.get_u8())
        } else if front.len() >= 8 {
            front.get_u64()
        } else {
            return Ok(None);
        };
        let limit = self.limits.message_bytes;
        let fits = usize::try_from(length).ok().filter(|length| *length <= limit.saturating_sub(self.bytes));
        match fits {
            Some(length) if self.frames.len() < self.limits.frames => {
                Ok(Some((flags, buffer.len() - front.len(), length)))
            }
            _ => Err(ZmtpError::TooLarge { announced: length.saturating_add(self.bytes as u64), limit }),
        }
    }
}

/// Appends a message.
pub(crate) fn put_message<F: AsRef<[u8]>>(out: &mut BytesMut, frames: &[F]) {
    for (left, frame) in (0..frames.len()).rev().zip(frames) {
        put_frame(out, if left == 0 { 0 } else { MORE }, frame.as_ref());
    }
}

/// Appends a command.
pub(crate) fn put_command(out: &mut BytesMut, body: &[u8]) {
    put_frame(out, COMMAND, body);
}

fn put_frame(out: &mut BytesMut, flags: u8, frame: &[u8]) {
    out.reserve(frame.len() + 9);
    if let Ok(length) = u8::try_from(frame.len()) {
        out.put_u8(flags);
        out.put_u8(length);
    } else {
        out.put_u8(flags | LONG);
        out.put_u64(frame.len() as u64);
    }
    out.put_slice(frame);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: ZmtpLimits = ZmtpLimits { message_bytes: 1000, frames: 4 };

    /// Reads `bytes` as they come in pieces of `step`.
    fn read(bytes: &[u8], step: usize, limits: ZmtpLimits) -> Result<Vec<Incoming>, ZmtpError> {
        let (mut reader, mut buffer, mut all) = (FrameReader::new(limits), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step.max(1)) {
            buffer.put_slice(piece);
            while let Some(incoming) = reader.next(&mut buffer)? {
                all.push(incoming);
            }
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn messages_are_read_as_they_were_written_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4), 0..5),
            step in 1_usize..700,
        ) {
            let mut bytes = BytesMut::new();
            messages.iter().for_each(|message| put_message(&mut bytes, message));
            let expected: Vec<Incoming> = messages
                .iter()
                .map(|message| Incoming::Message(message.iter().map(|frame| Bytes::copy_from_slice(frame)).collect()))
                .collect();
            prop_assert_eq!(read(&bytes, step, SMALL).unwrap(), expected);
        }

        #[test]
        fn nothing_that_a_peer_sends_panics(
            // Mostly flags and short lengths, so that frames are begun and ended.
            bytes in prop::collection::vec(prop_oneof![3 => 0_u8..8, 1 => any::<u8>()], 0..200),
            step in 1_usize..50,
        ) {
            let _ = read(&bytes, step, SMALL);
        }
    }

    #[test]
    fn announced_length_is_checked_before_its_bytes_come() {
        for length in [1001, 1 << 40, u64::MAX] {
            let mut bytes = BytesMut::from(&[LONG][..]);
            bytes.put_u64(length);
            let error = read(&bytes, 9, SMALL).unwrap_err();
            assert!(matches!(error, ZmtpError::TooLarge { announced, .. } if announced == length), "{error}");
        }
    }

    #[test]
    fn frames_of_one_message_are_counted_together() {
        let mut bytes = BytesMut::new();
        put_message(&mut bytes, &[&[0; 600][..], &[0; 600]]);
        assert!(matches!(read(&bytes, 9, SMALL).unwrap_err(), ZmtpError::TooLarge { announced: 1200, .. }));
        let mut bytes = BytesMut::new();
        put_message(&mut bytes, &[[0; 1]; 5]);
        assert!(matches!(read(&bytes, 9, SMALL).unwrap_err(), ZmtpError::TooLarge { .. }));
        // Each message begins anew.
        let mut bytes = BytesMut::new();
        (0..5).for_each(|_| put_message(&mut bytes, &[[0; 600]]));
        assert_eq!(read(&bytes, 9, SMALL).unwrap().len(), 5);
    }
}
