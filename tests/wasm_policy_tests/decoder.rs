//! MessagePack as `rmp-serde` reads it: a second opinion on the project's own codec.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A MessagePack value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Bin(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Decodes exactly one value.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut reader = rmp_serde::Deserializer::new(bytes);
        let value = Self::deserialize(&mut reader).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        assert!(reader.get_ref().is_empty(), "bytes follow the value: {bytes:02x?}");
        value
    }

    pub(crate) fn str(text: &str) -> Self {
        Self::Str(text.to_owned())
    }

    /// The value of a map's key.
    pub(crate) fn get(&self, key: &str) -> &Self {
        let Self::Map(entries) = self else { panic!("no map: {self:?}") };
        let found = entries.iter().find(|(known, _)| *known == Self::str(key));
        &found.unwrap_or_else(|| panic!("no {key} in {self:?}")).1
    }

    /// True if a map has the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        let Self::Map(entries) = self else { panic!("no map: {self:?}") };
        entries.iter().any(|(known, _)| *known == Self::str(key))
    }

    pub(crate) fn items(&self) -> &[Self] {
        let Self::Array(items) = self else { panic!("no array: {self:?}") };
        items
    }

    pub(crate) fn int(&self) -> i128 {
        let Self::Int(number) = self else { panic!("no integer: {self:?}") };
        *number
    }

    pub(crate) fn float(&self) -> f64 {
        let Self::Float(number) = self else { panic!("no float: {self:?}") };
        *number
    }

    /// A column of `i32`.
    pub(crate) fn signed(&self) -> Vec<i32> {
        self.words().map(i32::from_le_bytes).collect()
    }

    /// A column of `f32`.
    pub(crate) fn floats(&self) -> Vec<f32> {
        self.words().map(f32::from_le_bytes).collect()
    }

    /// A column of bits, as the indexes of those that are set.
    pub(crate) fn bits(&self) -> Vec<usize> {
        let Self::Bin(bytes) = self else { panic!("no bin: {self:?}") };
        (0..bytes.len() * 8).filter(|bit| bytes[bit / 8] & (1 << (bit % 8)) != 0).collect()
    }

    /// A column's four bytes of each worker.
    pub(crate) fn words(&self) -> impl Iterator<Item = [u8; 4]> {
        let Self::Bin(bytes) = self else { panic!("no bin: {self:?}") };
        assert!(bytes.len().is_multiple_of(4), "{bytes:02x?}");
        bytes.chunks_exact(4).map(|word| word.try_into().expect("four bytes"))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any MessagePack value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::str(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bin(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}
