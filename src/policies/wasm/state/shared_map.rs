//! The small map that a plugin's guests share.

use std::collections::HashMap;
use std::sync::Arc;

use sgl_policy_abi::host_function;

/// Keys and values, within bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedMap {
    entries: HashMap<Box<[u8]>, Arc<[u8]>>,
    bytes: usize,
}

impl SharedMap {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.entries.get(key).cloned()
    }

    /// Stores a value.
    ///
    /// # Errors
    ///
    /// The ABI's negative code of the limit that was met.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        if value.len() > host_function::KV_VALUE_BYTES {
            return Err(host_function::KV_VALUE_TOO_LARGE);
        }
        let before = self.entries.get(key).map_or(0, |old| key.len() + old.len());
        let bytes = self.bytes - before + key.len() + value.len();
        let crowded = self.entries.len() >= host_function::KV_ENTRIES && !self.entries.contains_key(key);
        if bytes > host_function::KV_TOTAL_BYTES || crowded {
            return Err(host_function::KV_FULL);
        }
        self.bytes = bytes;
        self.entries.insert(key.into(), value.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_is_bounded_and_replacing_a_value_frees_its_bytes() {
        let mut map = SharedMap::default();
        let value = vec![0; host_function::KV_VALUE_BYTES];
        let stored = (0_u8..).take_while(|key| map.set(&[*key], &value).is_ok()).count();
        assert_eq!(stored, host_function::KV_TOTAL_BYTES / (value.len() + 1));
        assert_eq!(map.set(b"more", &value), Err(host_function::KV_FULL));
        map.set(&[0], b"small").unwrap();
        map.set(b"more", &value).unwrap();
        assert_eq!(map.get(&[0]).as_deref(), Some(&b"small"[..]));
        assert_eq!(
            map.set(b"k", &[0; host_function::KV_VALUE_BYTES + 1]),
            Err(host_function::KV_VALUE_TOO_LARGE)
        );
    }

    #[test]
    fn map_takes_so_many_entries_and_no_more() {
        let mut map = SharedMap::default();
        let key = |number: usize| number.to_le_bytes();
        for number in 0..host_function::KV_ENTRIES {
            map.set(&key(number), b"").unwrap();
        }
        assert_eq!(map.set(&key(host_function::KV_ENTRIES), b""), Err(host_function::KV_FULL));
        map.set(&key(7), b"another value").unwrap();
    }
}
