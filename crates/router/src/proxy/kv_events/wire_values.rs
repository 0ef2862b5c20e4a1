//! Values of engines' events: of bounded length, and sometimes of several kinds.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Values of one list.
const MAX_NUMBERS: usize = 1 << 20;

/// Names of adapters and salts, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// A text that is not long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WireName(pub(super) String);

impl<'de> Deserialize<'de> for WireName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name.len() > MAX_NAME_BYTES {
            return Err(D::Error::custom("a name is too long"));
        }
        Ok(Self(name))
    }
}

/// A hash of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BlockHash(pub(super) u64);

/// A hash, or the name of a medium.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HashOrName {
    Hash(BlockHash),
    Name(WireName),
}

/// The rank that a batch names: a number, or something that is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedRank(Option<u64>);

impl NamedRank {
    /// Whether it is that one.
    pub(crate) fn is(&self, rank: u32) -> bool {
        self.0 == Some(rank.into())
    }
}

/// What is hashed beside tokens: a text, or something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ExtraKey {
    Name(String),
    Other,
}

/// A value of any kind.
#[derive(Debug)]
enum Anything {
    Number(u64),
    Text(String),
    Bytes(u64),
    Other,
}

impl<'de> Deserialize<'de> for BlockHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Anything::deserialize(deserializer)? {
            Anything::Number(hash) | Anything::Bytes(hash) => Ok(Self(hash)),
            Anything::Text(_) | Anything::Other => Err(D::Error::custom("a hash is a number or bytes")),
        }
    }
}

impl<'de> Deserialize<'de> for HashOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Anything::deserialize(deserializer)? {
            Anything::Number(hash) | Anything::Bytes(hash) => Ok(Self::Hash(BlockHash(hash))),
            Anything::Text(name) => Ok(Self::Name(WireName(name))),
            Anything::Other => Err(D::Error::custom("a hash is a number or bytes")),
        }
    }
}

impl<'de> Deserialize<'de> for NamedRank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Anything::deserialize(deserializer)? {
            Anything::Number(rank) => Some(rank),
            Anything::Text(_) | Anything::Bytes(_) | Anything::Other => None,
        }))
    }
}

impl<'de> Deserialize<'de> for ExtraKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Anything::deserialize(deserializer)? {
            Anything::Text(name) if name.len() <= MAX_NAME_BYTES => Self::Name(name),
            _ => Self::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnythingVisitor)
    }
}

struct AnythingVisitor;

impl<'de> Visitor<'de> for AnythingVisitor {
    type Value = Anything;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Anything, E> {
        Ok(Anything::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Anything, E> {
        Ok(Anything::Number(number.cast_unsigned()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Anything, E> {
        Ok(Anything::Text(text.to_owned()))
    }

    /// Of longer hashes the last bytes count, as in vLLM.
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Anything, E> {
        Ok(bytes.last_chunk().map_or(Anything::Other, |last| Anything::Bytes(u64::from_be_bytes(*last))))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Anything, E> {
        Ok(Anything::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Anything, E> {
        Ok(Anything::Other)
    }

    fn visit_unit<E>(self) -> Result<Anything, E> {
        Ok(Anything::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Anything, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Anything::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Anything, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Anything::Other)
    }
}

/// A list that is refused if it is too long, however long it says that it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UpTo<T>(pub(super) Vec<T>);

impl<T> Default for UpTo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UpTo<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = UpTo<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<UpTo<T>, A::Error> {
        // What is announced may be a lie: room is made for what comes.
        let mut list = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1024));
        while let Some(value) = seq.next_element()? {
            if list.len() == MAX_NUMBERS {
                return Err(A::Error::custom("a list is too long"));
            }
            list.push(value);
        }
        Ok(UpTo(list))
    }
}
