//! Messages that wait to be sent, instead of being written straight into a guest's buffer.

/// A message of at most `bound` bytes; `write` returns how many it used, or `None` if they do not fit.
pub(crate) fn owned(bound: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    let mut message = vec![0; bound];
    let used = write(&mut message)?;
    message.truncate(used);
    Some(message)
}
