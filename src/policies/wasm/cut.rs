//! How much of what a request brings a plugin is sent.
//!
//! A prompt may be larger than the memory of an instance. That is foreseen here and no failure of the
//! plugin: it gets the beginning, and the length of all of it where it asks for that (`prompt_bytes`).

/// The share of an instance's memory that all of it may take: one eighth. The buffer for a message is a
/// power of two and grows with the messages, so that even the sum of all its sizes fits.
const SHARE: usize = 8;

/// Bytes for texts, tokens and header values of one message.
pub(crate) fn bytes_of(memory_bytes: usize) -> usize {
    memory_bytes / SHARE
}

/// The beginning of a text, to the last character that ends within `limit` bytes.
#[inline]
pub(crate) fn text(text: Option<&str>, limit: usize) -> Option<&str> {
    text.map(|text| {
        if text.len() <= limit {
            text
        } else {
            text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
        }
    })
}

/// The first tokens, `limit` bytes of them at most.
#[inline]
pub(crate) fn tokens(tokens: Option<&[u32]>, limit: usize) -> Option<&[u32]> {
    tokens.map(|tokens| tokens.get(..limit / size_of::<u32>()).unwrap_or(tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_tokens_between_tokens() {
        assert_eq!(text(None, 0), None);
        assert_eq!(text(Some("ab\u{20ac}"), 5), Some("ab\u{20ac}"));
        assert_eq!(text(Some("ab\u{20ac}"), 4), Some("ab"));
        assert_eq!(tokens(Some(&[1, 2, 3]), 11), Some(&[1, 2][..]));
        assert_eq!(tokens(Some(&[1, 2, 3]), 12), Some(&[1, 2, 3][..]));
    }
}
