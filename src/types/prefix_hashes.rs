//! Hashes of a prompt's blocks, each of which stands for all that comes before it too.
//!
//! Two prompts that begin alike have equal hashes as far as whole blocks of them are equal, so that a look-up
//! in a map finds who has seen how much of a prompt. Routers that share what they know must agree on the
//! numbers: what is hashed and how is told in `docs/signals.md`, and pinned by a test here.
//!
//! ```text
//!  text or tokens ─► blocks ─► a hash of each ─┐
//!  model, adapter, salt … ─► seed ─► chained ◄─┘ ─► u64 per block
//! ```

/// What is mixed into what: digits of the fractions of π, as good as any, without a pattern.
pub(super) const KEYS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// Changes whenever what is hashed does, so that routers of different versions do not mistake each other.
const VERSION: u64 = 1;

/// Bytes that no text has: they keep apart what is of different kinds.
const TEXT: u8 = 0xff;
const ROLE: u8 = 0xfe;
const PART: u8 = 0xfd;

/// How large blocks are, and how many are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixBlocks {
    /// Token ids in a block: 1 to 1024. Default: 16.
    pub tokens: u32,
    /// Bytes in a block of text: 8 to 4096. Default: 64.
    pub text_bytes: u32,
    /// Blocks of a prompt that are hashed at most; what comes after them is not looked at. 1 to 65,536.
    /// Default: 4096.
    pub max_blocks: u32,
}

impl PrefixBlocks {
    /// The default as a constant.
    pub const DEFAULT: Self = Self { tokens: 16, text_bytes: 64, max_blocks: 4096 };
}

impl Default for PrefixBlocks {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What else decides whether an engine can use what it has of a prompt. What is not known is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixSeed<'a> {
    /// The model.
    pub model: &'a str,
    /// The adapter, where the request names one apart from the model.
    pub adapter: &'a str,
    /// The salt that keeps caches of different tenants apart.
    pub salt: &'a str,
    /// A digest of what stands before the prompt in the template, such as tools; 0 = nothing. It counts for
    /// text only: tokens of a chat are made by its template, which puts that among them.
    pub preamble: u64,
}

impl PrefixSeed<'_> {
    /// Where a chain of blocks of this size begins.
    pub(super) fn start(&self, is_text: bool, block_bytes: usize) -> u64 {
        [
            u64::from(is_text) << 32 | block_bytes as u64,
            hash_of(self.model.as_bytes()),
            hash_of(self.adapter.as_bytes()),
            hash_of(self.salt.as_bytes()),
            if is_text { self.preamble } else { 0 },
        ]
        .into_iter()
        .fold(VERSION, chained)
    }
}

/// Hashes a prompt as it is read, piece by piece. Allocates nothing for a block.
///
/// The first piece decides whether blocks are of text or of tokens; pieces of the other kind are ignored.
#[derive(Debug)]
pub struct PrefixHasher {
    blocks: PrefixBlocks,
    /// Bytes of a block; 0 before the first piece.
    block_bytes: usize,
    is_text: bool,
    /// The beginning of a block.
    begun: Vec<u8>,
    hashes: Vec<u64>,
}

impl PrefixHasher {
    /// For a prompt of some `bytes`, as far as is known: room is made for so much, and for no more than
    /// `blocks` allow.
    pub fn new(blocks: PrefixBlocks, bytes: usize) -> Self {
        let expected = bytes / (blocks.text_bytes as usize).max(1) + 1;
        Self {
            blocks,
            block_bytes: 0,
            is_text: false,
            begun: Vec::new(),
            hashes: Vec::with_capacity(expected.min(blocks.max_blocks as usize)),
        }
    }

    /// True once there was a piece of a prompt.
    pub fn is_begun(&self) -> bool {
        self.block_bytes > 0
    }

    /// Forgets what was hashed.
    pub fn clear(&mut self) {
        self.block_bytes = 0;
        self.begun.clear();
        self.hashes.clear();
    }

    /// A piece of the prompt begins: what follows, up to the next, is [`more`](Self::more) of it.
    pub fn text(&mut self) {
        self.mark(TEXT);
    }

    /// A message begins, with this role.
    pub fn role(&mut self, role: &str) {
        self.mark(ROLE);
        self.more(role.as_bytes());
    }

    /// A part of the prompt that is no text: an image, a call of a tool. Its digest stands for it.
    pub fn part(&mut self, name: &str, content: &[u8]) {
        self.mark(PART);
        self.more(name.as_bytes());
        self.more(&hash_of(content).to_le_bytes());
    }

    /// More text of the piece that began last.
    pub fn more(&mut self, text: &[u8]) {
        if self.takes(true) {
            self.absorb(text);
        }
    }

    /// The next token.
    pub fn token(&mut self, token: u32) {
        if self.takes(false) {
            self.absorb(&token.to_le_bytes());
        }
    }

    /// The hashes: one for each whole block.
    pub fn finish(mut self, seed: &PrefixSeed<'_>) -> Vec<u64> {
        let mut above = seed.start(self.is_text, self.block_bytes);
        for hash in &mut self.hashes {
            above = chained(above, *hash);
            *hash = above;
        }
        self.hashes
    }

    fn mark(&mut self, mark: u8) {
        self.more(&[mark]);
    }

    /// True if pieces of this kind count.
    fn takes(&mut self, is_text: bool) -> bool {
        if self.block_bytes == 0 {
            self.is_text = is_text;
            let bytes = if is_text { self.blocks.text_bytes } else { self.blocks.tokens.saturating_mul(4) };
            self.block_bytes = (bytes as usize).max(1);
        }
        self.is_text == is_text
    }

    fn absorb(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.hashes.len() < self.blocks.max_blocks as usize {
            let missing = self.block_bytes - self.begun.len();
            let Some((piece, rest)) = bytes.split_at_checked(missing) else {
                self.begun.extend_from_slice(bytes);
                return;
            };
            bytes = rest;
            if self.begun.is_empty() {
                self.hashes.push(hash_of(piece));
            } else {
                self.begun.extend_from_slice(piece);
                self.hashes.push(hash_of(&self.begun));
                self.begun.clear();
            }
        }
    }
}

/// A hash of some bytes: 16 at a time, as two little-endian numbers, the last ones filled up with zeroes.
pub fn hash_of(bytes: &[u8]) -> u64 {
    let [first, ..] = KEYS;
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let mix = |hash: u64, pair: &[u8; 16]| {
        let (low, high) = pair.split_at(8);
        mixed(hash, word(low), word(high))
    };
    let (pairs, rest) = bytes.as_chunks::<16>();
    let mut hash = pairs.iter().fold(first, mix);
    if !rest.is_empty() {
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        hash = mix(hash, &last);
    }
    finished(hash, bytes.len())
}

/// Goes on by 16 bytes.
pub(super) fn mixed(hash: u64, low: u64, high: u64) -> u64 {
    let [_, second, ..] = KEYS;
    folded(low ^ second, high ^ hash)
}

/// The hash of so many bytes, once all of them are mixed.
pub(super) fn finished(hash: u64, bytes: usize) -> u64 {
    let [.., third, fourth] = KEYS;
    folded(hash ^ third, bytes as u64 ^ fourth)
}

/// The hash of a block that follows others.
pub(super) fn chained(above: u64, block: u64) -> u64 {
    let [first, second, ..] = KEYS;
    folded(above ^ first, block ^ second)
}

/// The product of two numbers in 128 bits, its halves combined: each bit of the result depends on all bits of
/// both. As in wyhash, Wang Yi, 2019: <https://github.com/wangyi-fudan/wyhash>.
#[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SEED: PrefixSeed<'static> = PrefixSeed { model: "m", adapter: "", salt: "", preamble: 0 };

    fn text(text: &str) -> Vec<u64> {
        let mut hasher = PrefixHasher::new(PrefixBlocks::default(), text.len());
        hasher.text();
        hasher.more(text.as_bytes());
        hasher.finish(&SEED)
    }

    fn tokens(ids: impl IntoIterator<Item = u32>, blocks: PrefixBlocks, seed: &PrefixSeed<'_>) -> Vec<u64> {
        let mut hasher = PrefixHasher::new(blocks, 0);
        ids.into_iter().for_each(|id| hasher.token(id));
        hasher.finish(seed)
    }

    fn equal(one: &[u64], other: &[u64]) -> usize {
        one.iter().zip(other).take_while(|(one, other)| one == other).count()
    }

    #[test]
    fn hashes_are_pinned_because_routers_share_them() {
        // Worked out by the Python of `docs/signals.md`.
        assert_eq!(hash_of(b""), 0x7caa_3d76_6450_37da);
        assert_eq!(hash_of(b"abc"), 0xb35d_ebf3_c348_b095);
        assert_eq!(text(&"0123456789abcdef".repeat(8)), [0xabb0_1ac4_43cf_ea17, 0x4743_e04f_b727_1696]);
        assert_eq!(
            tokens(0..32, PrefixBlocks::default(), &SEED),
            [0xa979_65c2_31fa_a02d, 0x9f21_e13a_4943_b416]
        );
    }

    #[test]
    fn prompts_that_begin_alike_have_equal_hashes_up_to_where_they_differ() {
        let shared = "a system prompt, ".repeat(40);
        let (one, other) =
            (text(&(shared.clone() + "one".repeat(90).as_str())), text(&(shared.clone() + "other")));
        let whole = (1 + shared.len()) / 64;
        assert_eq!(equal(&one, &other), whole);
        assert!(one.len() > whole);
        // A block stands for all before it.
        let later = text(&format!("x{}", &shared[1..]));
        assert_eq!(equal(&one, &later), 0);
        assert!(HashSet::<u64>::from_iter(one).is_disjoint(&later.into_iter().collect()));
    }

    #[test]
    fn pieces_make_no_difference_to_the_same_text_but_messages_do() {
        let whole = "x".repeat(1000);
        let mut hasher = PrefixHasher::new(PrefixBlocks::default(), 0);
        hasher.text();
        for piece in [7, 200, 0, 64, 1, 728].iter().scan(0, |at, len| {
            let start = *at;
            *at += len;
            Some(&whole[start..*at])
        }) {
            hasher.more(piece.as_bytes());
        }
        assert_eq!(hasher.finish(&SEED), text(&whole));
        let chat = |messages: &[(&str, &str)]| {
            let mut hasher = PrefixHasher::new(PrefixBlocks { text_bytes: 8, ..PrefixBlocks::default() }, 0);
            for (role, text) in messages {
                hasher.role(role);
                hasher.text();
                hasher.more(text.as_bytes());
            }
            hasher.finish(&SEED)
        };
        let all = [
            chat(&[("user", "hello"), ("user", "world and all")]),
            chat(&[("user", "helloworld"), ("user", " and all")]),
            chat(&[("user", "hello"), ("assistant", "world and all")]),
            chat(&[("user", "hello\u{1}userworld and all")]),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "{all:x?}");
    }

    #[test]
    fn parts_without_text_count_by_what_they_are() {
        let image = |name: &str, content: &[u8]| {
            let mut hasher = PrefixHasher::new(PrefixBlocks::default(), 0);
            hasher.part(name, content);
            hasher.text();
            hasher.more(&[b'x'; 100]);
            hasher.finish(&SEED)
        };
        let long = vec![1; 1 << 20];
        assert_eq!(image("image", b"a"), image("image", b"a"));
        assert_ne!(image("image", b"a"), image("image", b"b"));
        assert_ne!(image("image", b"a"), image("sound", b"a"));
        assert_eq!(image("image", &long).len(), 1, "it takes no more room than a small one");
    }

    #[test]
    fn model_adapter_salt_and_preamble_never_match_each_other() {
        let of = |seed: &PrefixSeed<'_>| tokens(0..16, PrefixBlocks::default(), seed);
        let of_text = |seed: &PrefixSeed<'_>| {
            let mut hasher = PrefixHasher::new(PrefixBlocks::default(), 0);
            hasher.more(&[b'x'; 64]);
            hasher.finish(seed)
        };
        let seeds = [
            SEED,
            PrefixSeed { model: "n", ..SEED },
            PrefixSeed { adapter: "m", ..SEED },
            PrefixSeed { salt: "m", ..SEED },
            PrefixSeed { model: "", salt: "m", ..SEED },
            PrefixSeed { model: "", adapter: "m", ..SEED },
        ];
        let hashes: HashSet<Vec<u64>> = seeds.iter().map(of).collect();
        assert_eq!(hashes.len(), seeds.len());
        let with_tools = PrefixSeed { preamble: 1, ..SEED };
        assert_ne!(of_text(&with_tools), of_text(&SEED));
        assert_eq!(of(&with_tools), of(&SEED), "the tokens of a chat hold its tools");
        let other = PrefixBlocks { tokens: 8, ..PrefixBlocks::default() };
        assert!(!tokens(0..16, other, &SEED).contains(&of(&SEED)[0]), "blocks of another size");
    }

    #[test]
    fn only_whole_blocks_count_and_only_the_first_ones() {
        let blocks = PrefixBlocks { max_blocks: 3, ..PrefixBlocks::default() };
        for (length, expected) in [(0, 0), (15, 0), (16, 1), (47, 2), (48, 3), (1000, 3)] {
            assert_eq!(tokens(0..length, blocks, &SEED).len(), expected, "{length}");
        }
        let mut hasher = PrefixHasher::new(blocks, usize::MAX);
        (0..100).for_each(|id| hasher.token(id));
        hasher.more(b"text behind tokens is ignored");
        assert_eq!(hasher.finish(&SEED), tokens(0..100, blocks, &SEED));
        let mut hasher = PrefixHasher::new(blocks, 0);
        hasher.more(&[0; 1000]);
        hasher.clear();
        (0..100).for_each(|id| hasher.token(id));
        assert_eq!(hasher.finish(&SEED), tokens(0..100, blocks, &SEED), "it forgets");
    }

    #[test]
    fn hashes_of_similar_blocks_are_spread() {
        let mut seen = HashSet::new();
        let mut buckets = [0_u32; 256];
        for id in 0..200_000_u32 {
            let hash =
                tokens((0..16).map(|at| if at == 7 { id } else { 5 }), PrefixBlocks::default(), &SEED)[0];
            assert!(seen.insert(hash), "two blocks have one hash");
            buckets[(hash & 255) as usize] += 1;
            buckets[(hash >> 56) as usize] += 1;
        }
        let (least, most) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
        // 1562.5 on average, with a deviation of 40.
        assert!(*least > 1300 && *most < 1850, "{least} {most}");
    }
}
