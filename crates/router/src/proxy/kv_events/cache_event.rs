//! What engines say that their caches hold, as they write it.
//!
//! MessagePack `[time, [event, …], rank, …]`. An event is a map with its `type`, in older versions an array that
//! begins with it. vLLM's hashes are unsigned, SGLang's signed, and some are bytes.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use crate::proxy::kv_events::wire_values::{BlockHash, ExtraKey, HashOrName, NamedRank, UpTo, WireName};

/// Events of one batch.
const MAX_EVENTS: usize = 1 << 18;

/// How deep values may be nested.
const MAX_DEPTH: usize = 32;

/// A change of an engine's cache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CacheEvent {
    /// Blocks in a row are held now.
    Stored(Box<StoredBlocks>),
    /// Blocks were given up: their hashes, and the group of layers that had them.
    Removed(Vec<u64>, Option<u32>),
    /// All were.
    Cleared,
    /// Blocks of a slower memory or of layers that look at a window only, or something that is not known.
    Other,
    /// Something that contradicts itself.
    Odd,
}

/// Blocks that an engine holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredBlocks {
    /// The block before the first one; none at the start of a prompt.
    pub(crate) parent: Option<u64>,
    /// Their hashes.
    pub(crate) hashes: Vec<u64>,
    /// The tokens of all of them.
    pub(crate) tokens: Vec<u32>,
    /// Tokens of each.
    pub(crate) block_tokens: usize,
    /// The adapter that they are for, as requests name it.
    pub(crate) adapter: Option<String>,
    /// The salt that the prompt has.
    pub(crate) salt: Option<String>,
    /// How many of them are told apart by their tokens alone: not those with images.
    pub(crate) plain: usize,
    /// The group of layers that has them.
    pub(crate) group: Option<u32>,
}

/// That a batch is not one, behind what was read of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OddBatch;

/// Reads a batch, and gives each event to `take` as it comes; the rank that it names behind them, if it does. Of
/// a batch that is odd somewhere, what comes before that place has been taken.
pub(crate) fn read_batch(bytes: &[u8], take: impl FnMut(CacheEvent)) -> Result<Option<NamedRank>, OddBatch> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(MAX_DEPTH);
    (&mut reader).deserialize_seq(BatchVisitor { take }).map_err(|_| OddBatch)
}

struct BatchVisitor<F> {
    take: F,
}

impl<'de, F: FnMut(CacheEvent)> Visitor<'de> for BatchVisitor<F> {
    type Value = Option<NamedRank>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let missing = || A::Error::custom("a batch has a time and events");
        seq.next_element::<IgnoredAny>()?.ok_or_else(missing)?;
        seq.next_element_seed(Events { take: self.take })?.ok_or_else(missing)?;
        // Old versions name no rank.
        let rank = seq.next_element::<Option<NamedRank>>()?.flatten();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(rank)
    }
}

struct Events<F> {
    take: F,
}

impl<'de, F: FnMut(CacheEvent)> DeserializeSeed<'de> for Events<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(CacheEvent)> Visitor<'de> for Events<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut left = MAX_EVENTS;
        while let Some(event) = seq.next_element::<EventFields>()? {
            left = left.checked_sub(1).ok_or_else(|| A::Error::custom("too many events"))?;
            (self.take)(event.read());
        }
        Ok(())
    }
}

/// Fields of all events, in the order that arrays have of a `BlockStored`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventFields {
    r#type: WireName,
    block_hashes: UpTo<BlockHash>,
    /// In an array that tells of removed blocks, the medium is here.
    parent_block_hash: Option<HashOrName>,
    token_ids: UpTo<u32>,
    block_size: u32,
    lora_id: Option<IgnoredAny>,
    medium: Option<WireName>,
    lora_name: Option<WireName>,
    extra_keys: Option<UpTo<Option<UpTo<ExtraKey>>>>,
    group_idx: Option<u32>,
    kv_cache_spec_kind: Option<WireName>,
    locality: Option<WireName>,
    cache_salt: Option<WireName>,
}

impl EventFields {
    fn read(self) -> CacheEvent {
        let medium = match &self.parent_block_hash {
            Some(HashOrName::Name(medium)) => Some(medium),
            _ => self.medium.as_ref(),
        };
        let is = |name: Option<&WireName>, known: &str| name.is_none_or(|name| name.0 == known);
        let is_near = is(medium, "GPU") && is(self.locality.as_ref(), "LOCAL");
        match self.r#type.0.as_str() {
            "AllBlocksCleared" => CacheEvent::Cleared,
            "BlockRemoved" if is_near => CacheEvent::Removed(self.hashes(), self.group_idx),
            "BlockStored" if is_near && sees_all(self.kv_cache_spec_kind.as_ref()) => self.stored(),
            _ => CacheEvent::Other,
        }
    }

    fn hashes(&self) -> Vec<u64> {
        self.block_hashes.0.iter().map(|hash| hash.0).collect()
    }

    fn stored(self) -> CacheEvent {
        let hashes = self.hashes();
        let block_tokens = self.block_size as usize;
        let expected = hashes.len().checked_mul(block_tokens);
        let parent = match self.parent_block_hash {
            None => None,
            Some(HashOrName::Hash(hash)) => Some(hash.0),
            Some(HashOrName::Name(_)) => return CacheEvent::Odd,
        };
        if block_tokens == 0 || expected != Some(self.token_ids.0.len()) {
            return CacheEvent::Odd;
        }
        let adapter = self.lora_name.map(|name| name.0);
        if adapter.is_none() && self.lora_id.is_some() {
            // Nothing says what requests call it.
            return CacheEvent::Other;
        }
        let mut blocks = StoredBlocks {
            parent,
            plain: hashes.len(),
            hashes,
            tokens: self.token_ids.0,
            block_tokens,
            adapter,
            salt: self.cache_salt.map(|salt| salt.0).filter(|salt| !salt.is_empty()),
            group: self.group_idx,
        };
        if let Some(keys) = self.extra_keys {
            blocks.tell_apart(&keys.0);
        }
        CacheEvent::Stored(Box::new(blocks))
    }
}

impl StoredBlocks {
    /// By what engines hash beside tokens: the adapter's name in each block, a salt in the first of a prompt,
    /// and what is no text.
    fn tell_apart(&mut self, keys: &[Option<UpTo<ExtraKey>>]) {
        for (position, keys) in keys.iter().enumerate() {
            let mut keys = keys.as_ref().map_or(&[][..], |keys| &keys.0);
            if let (Some((ExtraKey::Name(first), rest)), Some(adapter)) = (keys.split_first(), &self.adapter)
                && first == adapter
            {
                keys = rest;
            }
            match keys {
                [] => {}
                [ExtraKey::Name(salt)] if position == 0 && self.parent.is_none() => {
                    self.salt = Some(salt.clone());
                }
                _ => {
                    self.plain = self.plain.min(position);
                    return;
                }
            }
        }
    }
}

/// True for layers that look at the whole prompt.
fn sees_all(kind: Option<&WireName>) -> bool {
    kind.is_none_or(|kind| {
        !["sliding", "chunked", "mamba", "encoder", "cross"].iter().any(|other| kind.0.contains(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bytes(value: &Value) -> Vec<u8> {
        rmp_serde::to_vec_named(value).unwrap()
    }

    fn read(events: &Value) -> Result<Vec<CacheEvent>, OddBatch> {
        let mut found = Vec::new();
        read_batch(&bytes(&json!([1.5, events, 0])), |event| found.push(event))?;
        Ok(found)
    }

    fn stored(more: Value) -> Value {
        let mut event = json!({"type": "BlockStored", "block_hashes": [u64::MAX, 5], "parent_block_hash": null,
            "token_ids": [1, 2, 3, 4], "block_size": 2, "lora_id": null, "medium": "GPU"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    }

    fn blocks(event: Value) -> StoredBlocks {
        match read(&json!([event])).unwrap().pop().unwrap() {
            CacheEvent::Stored(blocks) => *blocks,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_of_both_engines_and_of_older_versions_are_read() {
        let plain = blocks(stored(json!({})));
        assert_eq!(
            (plain.parent, &plain.hashes[..], &plain.tokens[..]),
            (None, &[u64::MAX, 5][..], &[1, 2, 3, 4][..])
        );
        assert_eq!((plain.block_tokens, plain.plain, plain.group), (2, 2, None));
        let vllm = json!({"lora_name": null, "extra_keys": [null, null], "group_idx": 1, "kv_cache_spec_kind": "full_attention",
            "session_id": "s"});
        assert_eq!(blocks(stored(vllm)), StoredBlocks { group: Some(1), ..blocks(stored(json!({}))) });
        assert_eq!(blocks(stored(json!({"block_hashes": [-1, 5]}))), plain, "SGLang's have a sign");
        let array = json!(["BlockStored", [-1, 5], null, [1, 2, 3, 4], 2, null, "GPU"]);
        assert_eq!(blocks(array), plain);
        let others = json!([["BlockRemoved", [7], "GPU"], ["BlockRemoved", [8]], ["AllBlocksCleared"],
            {"type": "BlockRemoved", "block_hashes": [9], "medium": "GPU", "group_idx": 2}, {"type": "AllBlocksCleared"}]);
        let removed = |hash, group| CacheEvent::Removed(vec![hash], group);
        let cleared = || CacheEvent::Cleared;
        assert_eq!(
            read(&others).unwrap(),
            [removed(7, None), removed(8, None), cleared(), removed(9, Some(2)), cleared()]
        );
        let hash = rmp_serde::to_vec_named(&(
            1.0,
            [("BlockRemoved", [serde_bytes_of(&[9, 0, 0, 0, 0, 0, 0, 1, 2])])],
        ))
        .unwrap();
        let mut found = Vec::new();
        read_batch(&hash, |event| found.push(event)).unwrap();
        assert_eq!(found, [removed(0x0102, None)]);
    }

    #[test]
    fn rank_that_a_batch_names_is_told_apart_from_others_and_from_none() {
        let named = |more: &[Value]| {
            let batch = [&[json!(1.5), json!([])][..], more].concat();
            read_batch(&bytes(&json!(batch)), |_| {}).unwrap()
        };
        assert_eq!((named(&[]), named(&[json!(null)])), (None, None));
        assert!(named(&[json!(3), json!("and more")]).unwrap().is(3));
        let others = [json!(2), json!(-3), json!(4_294_967_299_u64), json!("3"), json!(3.0), json!([3])];
        for other in others {
            assert!(!named(std::slice::from_ref(&other)).unwrap().is(3), "{other}");
        }
    }

    /// Bytes as MessagePack has them.
    fn serde_bytes_of(bytes: &[u8]) -> impl serde::Serialize {
        struct AsBytes(Vec<u8>);
        impl serde::Serialize for AsBytes {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
        AsBytes(bytes.to_vec())
    }

    #[test]
    fn what_tells_blocks_apart_beside_their_tokens_is_seen() {
        let of = |more| blocks(stored(more));
        let salted = of(json!({"extra_keys": [["s"], null]}));
        assert_eq!((salted.salt.as_deref(), salted.plain), (Some("s"), 2));
        assert_eq!(of(json!({"cache_salt": "s"})).salt.as_deref(), Some("s"));
        let adapted = of(json!({"lora_id": 3, "lora_name": "a", "extra_keys": [["a", "s"], ["a"]]}));
        assert_eq!(
            (adapted.adapter.as_deref(), adapted.salt.as_deref(), adapted.plain),
            (Some("a"), Some("s"), 2)
        );
        assert_eq!(of(json!({"extra_keys": [null, [["image", 0]]]})).plain, 1);
        assert_eq!(of(json!({"extra_keys": [[["image", 0], "s"], null]})).plain, 0);
        assert_eq!(of(json!({"parent_block_hash": 3, "extra_keys": [["what?"], null]})).plain, 0);
    }

    #[test]
    fn blocks_elsewhere_and_unknown_events_are_others() {
        let others = json!([stored(json!({"medium": "CPU_PINNED"})), stored(json!({"locality": "REMOTE"})),
            stored(json!({"kv_cache_spec_kind": "sliding_window"})), stored(json!({"lora_id": 3})), {"type": "BlockMoved"}, {},
            {"type": "BlockRemoved", "block_hashes": [1], "medium": "CPU"}, ["BlockRemoved", [7], "CPU"]]);
        assert_eq!(read(&others).unwrap(), [const { CacheEvent::Other }; 8]);
        let odd = json!([
            stored(json!({"block_size": 0})),
            stored(json!({"block_size": 4_000_000_000_u32})),
            stored(json!({"token_ids": [1]})),
            stored(json!({"parent_block_hash": "x"}))
        ]);
        assert_eq!(read(&odd).unwrap()[..3], [const { CacheEvent::Odd }; 3]);
    }

    #[test]
    fn anything_else_is_odd_and_takes_no_memory() {
        for event in [
            json!(7),
            json!("x"),
            stored(json!({"token_ids": [-1, 2, 3, 4]})),
            stored(json!({"block_hashes": ["x"]})),
            stored(json!({"block_size": -2})),
            stored(json!({"lora_name": "x".repeat(5000)})),
        ] {
            assert_eq!(read(&json!([event])), Err(OddBatch), "{event:.80}");
        }
        for other in [json!(null), json!([]), json!([1.0]), json!([1.0, 7]), json!({"a": 1})] {
            assert_eq!(read_batch(&bytes(&other), |_| {}), Err(OddBatch), "{other}");
        }
        // A list that says it has 4 billion entries, at each place where there may be one.
        for before in [
            &b"\xdd\xff\xff\xff\xff"[..],
            b"\x92\x01\xdd\xff\xff\xff\xff",
            b"\x92\x01\x91\x81\xaablock_hash\xdd\xff\xff\xff\xff",
            b"\x92\x01\x91\x81\xacblock_hashes\xdd\xff\xff\xff\xff",
            b"\x92\x01\x91\x81\xa4type\xdb\xff\xff\xff\xff",
        ] {
            assert_eq!(read_batch(before, |_| {}), Err(OddBatch), "{before:x?}");
        }
        let deep = [b"\x92\x01\x91\x81\xa1x".to_vec(), vec![0x91; 100_000]].concat();
        assert_eq!(read_batch(&deep, |_| {}), Err(OddBatch));
        let mut before = 0;
        let late = bytes(&json!([1.0, [["AllBlocksCleared"], 7]]));
        assert_eq!(read_batch(&late, |_| before += 1), Err(OddBatch));
        assert_eq!(before, 1, "what comes before counts");
        let many = [b"\x92\x01\xdd\x00\x04\x00\x01".to_vec(), vec![0x90; (1 << 18) + 1]].concat();
        assert_eq!(read_batch(&many, |_| {}), Err(OddBatch));
    }
}
