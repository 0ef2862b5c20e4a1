//! What every guest gets: the message of a decision, as the router writes it.

use sgl_policy_abi::Writer;

/// The inputs of `least_connections` (healthy, excluded, load, random) for idle, healthy workers.
#[derive(Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// For as many workers.
    ///
    /// # Panics
    ///
    /// Never: the message fits.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let mut buffer = vec![0; workers * 5 + 64];
        let mut writer = Writer::new(&mut buffer);
        let written = (|| {
            writer.array(5)?;
            writer.uint(1)?;
            let healthy = writer.bin(workers.div_ceil(8))?;
            for index in 0..workers {
                if let Some(byte) = healthy.get_mut(index / 8) {
                    *byte |= 1 << (index % 8);
                }
            }
            writer.bin(workers.div_ceil(8))?.fill(0);
            writer.bin(workers * 4)?.fill(0);
            // Any number that takes eight bytes.
            writer.uint(u64::MAX)
        })();
        written.expect("the buffer is large enough");
        let length = writer.position();
        buffer.truncate(length);
        Self(buffer)
    }

    /// The message with another random number: with always the same one, processors learn the
    /// guest's branches by heart.
    #[expect(clippy::should_implement_trait, reason = "the message is borrowed")]
    pub fn next(&mut self) -> &[u8] {
        if let Some((_, random)) = self.0.split_last_chunk_mut::<8>() {
            *random = fastrand::u64(1 << 63..).to_be_bytes();
        }
        &self.0
    }

    /// Bytes of the message.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The index that a guest answered.
///
/// # Errors
///
/// If it answered something else.
pub fn index(answer: &[u8]) -> anyhow::Result<usize> {
    match answer {
        [index @ 0..=0x7f] => Ok(usize::from(*index)),
        [0xcc, index] => Ok(usize::from(*index)),
        [0xcd, high, low] => Ok(usize::from(u16::from_be_bytes([*high, *low]))),
        other => anyhow::bail!("no index: {other:?}"),
    }
}
