//! Text as tokens: how many a prompt has, which blocks of it a prefix cache may know, and the
//! words that answers are made of.
//!
//! A token is four bytes of text, the usual rule of thumb for English. A token id that a client
//! sends counts as one token and is hashed as its four bytes.

use crate::sim::seed::mix;

/// Bytes of text per token.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens per block of the prefix cache, if nobody says otherwise.
pub(crate) const TOKENS_PER_BLOCK: usize = 16;

/// A prompt after reading: only what the simulation needs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptShape {
    /// Length in tokens.
    pub(crate) tokens: u32,
    /// One hash per full block. Each covers all text before it too, so equal hashes mean equal
    /// prefixes. Empty if the reader was told not to hash.
    pub(crate) blocks: Vec<u64>,
    /// Hash of the whole text; 0 if the reader was told not to hash.
    pub(crate) digest: u64,
    /// The tokens of the full blocks: the four bytes of each as a number, or the ids that were sent. Empty
    /// if the reader was not told to keep them.
    pub(crate) ids: Vec<u32>,
}

/// Whether a [`PromptReader`] hashes what it reads or only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashing {
    /// Blocks of so many tokens and the digest are made.
    Blocks(usize),
    /// The same, and the tokens of the blocks are kept.
    Tokens(usize),
    /// Only the length is counted.
    Off,
}

/// Reads a prompt piece by piece, without joining the pieces to one text.
#[derive(Debug)]
pub(crate) struct PromptReader {
    hashing: Hashing,
    bytes: usize,
    chain: u64,
    /// Start of a block whose end has not been read: always shorter than a block.
    carry: Vec<u8>,
    blocks: Vec<u64>,
    ids: Vec<u32>,
}

impl PromptReader {
    pub(crate) fn new(hashing: Hashing) -> Self {
        Self { hashing, bytes: 0, chain: 0, carry: Vec::new(), blocks: Vec::new(), ids: Vec::new() }
    }

    /// Reads further text.
    pub(crate) fn push(&mut self, mut text: &[u8]) {
        self.bytes = self.bytes.saturating_add(text.len());
        let (Hashing::Blocks(block_tokens) | Hashing::Tokens(block_tokens)) = self.hashing else { return };
        let block_bytes = block_tokens.max(1).saturating_mul(BYTES_PER_TOKEN);
        if !self.carry.is_empty() {
            let missing = block_bytes.saturating_sub(self.carry.len()).min(text.len());
            let (head, rest) = text.split_at(missing);
            self.carry.extend_from_slice(head);
            text = rest;
            if self.carry.len() < block_bytes {
                return;
            }
            let mut block = std::mem::take(&mut self.carry);
            self.add(&block);
            block.clear();
            self.carry = block;
        }
        let blocks = text.chunks_exact(block_bytes);
        self.carry.extend_from_slice(blocks.remainder());
        blocks.for_each(|block| self.add(block));
    }

    fn add(&mut self, block: &[u8]) {
        self.chain = fold(self.chain, block);
        self.blocks.push(self.chain);
        if matches!(self.hashing, Hashing::Tokens(_)) {
            let (tokens, _) = block.as_chunks::<BYTES_PER_TOKEN>();
            self.ids.extend(tokens.iter().map(|token| u32::from_le_bytes(*token)));
        }
    }

    /// Reads one token id.
    pub(crate) fn push_id(&mut self, id: u32) {
        self.push(&id.to_le_bytes());
    }

    pub(crate) fn finish(self) -> PromptShape {
        let digest = match self.hashing {
            Hashing::Blocks(_) | Hashing::Tokens(_) => mix(fold(self.chain, &self.carry) ^ self.bytes as u64),
            Hashing::Off => 0,
        };
        let tokens = u32::try_from(self.bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX);
        PromptShape { tokens, blocks: self.blocks, digest, ids: self.ids }
    }
}

/// Adds bytes to a running hash, eight at a time. Not cryptographic: prompts of a load run are
/// not chosen to collide.
fn fold(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = start;
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9FB2_1C65_1E98_DF25);
        hash ^= hash >> 32;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    mix(hash)
}

/// The words of all answers. Plain ASCII, so that they need no escaping in JSON.
const WORDS: [&str; 64] = [
    "the", "worker", "reads", "a", "prompt", "and", "answers", "with", "some", "words", "that", "mean",
    "nothing", "at", "all", "but", "arrive", "in", "order", "one", "by", "each", "token", "takes", "its",
    "time", "as", "if", "large", "model", "were", "busy", "behind", "this", "line", "of", "text", "while",
    "other", "requests", "wait", "for", "their", "place", "batch", "cache", "keeps", "what", "it", "has",
    "seen", "before", "so", "next", "turn", "is", "quick", "then", "stream", "goes", "on", "until", "done",
    "again",
];

/// The word that stands for a token.
pub(crate) fn word(token: u64) -> &'static str {
    let index = usize::try_from(token % WORDS.len() as u64).unwrap_or(0);
    WORDS.get(index).copied().unwrap_or("the")
}

/// The id that stands for a token, below the vocabulary size of Llama 2.
pub(crate) fn token_id(token: u64) -> u64 {
    token % 32_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = TOKENS_PER_BLOCK * BYTES_PER_TOKEN;

    fn read(pieces: &[&str]) -> PromptShape {
        let mut reader = PromptReader::new(Hashing::Blocks(16));
        for piece in pieces {
            reader.push(piece.as_bytes());
        }
        reader.finish()
    }

    #[test]
    fn prompt_is_the_same_however_it_is_cut() {
        let text = "abcdefghij".repeat(50);
        let whole = read(&[&text]);
        assert_eq!(whole.tokens, 125);
        assert_eq!(whole.blocks.len(), 7);
        for cut in [1, 10, 63, 64, 65, 128, 499] {
            let (head, tail) = text.split_at(cut);
            assert_eq!(read(&[head, tail]), whole, "cut at {cut}");
        }
        let letters: Vec<&str> = text.split_inclusive(char::is_alphabetic).collect();
        assert_eq!(read(&letters), whole);
    }

    #[test]
    fn blocks_agree_exactly_as_far_as_the_text_does() {
        let shared = "x".repeat(BLOCK * 3);
        let one = read(&[&shared, &"a".repeat(200)]);
        let two = read(&[&shared, &"b".repeat(200)]);
        let same = one.blocks.iter().zip(&two.blocks).take_while(|(a, b)| a == b).count();
        assert_eq!(same, 3);
        assert_ne!(one.blocks.last(), two.blocks.last());
        assert_ne!(one.digest, two.digest);
    }

    #[test]
    fn equal_blocks_at_different_places_have_different_hashes() {
        let prompt = read(&[&"x".repeat(BLOCK * 2)]);
        assert_ne!(prompt.blocks[0], prompt.blocks[1]);
    }

    #[test]
    fn reader_without_hashing_only_counts() {
        let mut reader = PromptReader::new(Hashing::Off);
        reader.push(&[b'x'; 401]);
        reader.push_id(7);
        assert_eq!(reader.finish(), PromptShape { tokens: 102, ..PromptShape::default() });
    }

    #[test]
    fn words_need_no_escaping() {
        assert!(WORDS.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
    }

    #[test]
    fn tokens_of_full_blocks_are_kept_on_demand() {
        let mut reader = PromptReader::new(Hashing::Tokens(2));
        (1..6).for_each(|id| reader.push_id(id));
        let prompt = reader.finish();
        assert_eq!((prompt.ids, prompt.blocks.len(), prompt.tokens), (vec![1, 2, 3, 4], 2, 5));
        let mut reader = PromptReader::new(Hashing::Tokens(2));
        ["abc", "defgh", "ij"].iter().for_each(|piece| reader.push(piece.as_bytes()));
        assert_eq!(reader.finish().ids, [u32::from_le_bytes(*b"abcd"), u32::from_le_bytes(*b"efgh")]);
    }
}
