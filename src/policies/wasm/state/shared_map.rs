//! The map that a plugin's guests share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sgl_policy_abi::host_function;

use crate::config::plugin::PluginOptions;

/// Entries whose time is over that one call removes at most: more than it can add, so that they never
/// pile up, and few, since other guests wait meanwhile.
const MAX_SWEPT: usize = 32;

/// How much a map may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapLimits {
    /// Bytes of keys and values.
    pub(crate) max_bytes: usize,
    /// Entries.
    pub(crate) max_entries: usize,
}

impl MapLimits {
    /// What the operator says.
    pub(crate) fn of(options: &PluginOptions) -> Self {
        Self { max_bytes: options.max_map_bytes, max_entries: options.max_map_entries }
    }
}

impl Default for MapLimits {
    fn default() -> Self {
        Self { max_bytes: host_function::KV_TOTAL_BYTES, max_entries: host_function::KV_ENTRIES }
    }
}

/// Keys and values, within bounds.
///
/// Entries that are kept for a time are also in the order in which they end. One that has ended is gone
/// for readers at once; its room is free when a writer comes across it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedMap {
    entries: HashMap<Arc<[u8]>, Stored>,
    expiring: BTreeSet<(Instant, Arc<[u8]>)>,
    bytes: usize,
    limits: MapLimits,
}

#[derive(Clone, Debug)]
struct Stored {
    value: Arc<[u8]>,
    /// When it ends.
    until: Option<Instant>,
}

impl SharedMap {
    /// What it may hold from now on. What it holds already stays.
    pub(crate) fn limit(&mut self, limits: MapLimits) {
        self.limits = limits;
    }

    /// A value. The clock is read only for entries that end.
    pub(crate) fn get(&self, key: &[u8], now: impl FnOnce() -> Instant) -> Option<Arc<[u8]>> {
        let stored = self.entries.get(key)?;
        let is_over = stored.until.is_some_and(|until| until <= now());
        if is_over { None } else { Some(Arc::clone(&stored.value)) }
    }

    /// Stores a value, for that time or for good.
    ///
    /// # Errors
    ///
    /// The ABI's negative code of the limit that was met.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        keep: Option<Duration>,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), i32> {
        if value.len() > host_function::KV_VALUE_BYTES {
            return Err(host_function::KV_VALUE_TOO_LARGE);
        }
        let now = (keep.is_some() || !self.expiring.is_empty()).then(now);
        if let Some(now) = now {
            self.sweep(now);
        }
        let before = self.entries.get(key).map(|old| key.len() + old.value.len());
        let bytes = self.bytes - before.unwrap_or_default() + key.len() + value.len();
        let crowded = before.is_none() && self.entries.len() >= self.limits.max_entries;
        if bytes > self.limits.max_bytes || crowded {
            return Err(host_function::KV_FULL);
        }
        self.remove(key);
        let key: Arc<[u8]> = key.into();
        let until = now.zip(keep).and_then(|(now, keep)| now.checked_add(keep));
        if let Some(until) = until {
            self.expiring.insert((until, Arc::clone(&key)));
        }
        self.bytes = bytes;
        self.entries.insert(key, Stored { value: value.into(), until });
        Ok(())
    }

    /// Removes an entry, if there is one.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        let Some((key, stored)) = self.entries.remove_entry(key) else { return };
        self.bytes -= key.len() + stored.value.len();
        if let Some(until) = stored.until {
            self.expiring.remove(&(until, key));
        }
    }

    fn sweep(&mut self, now: Instant) {
        for _ in 0..MAX_SWEPT {
            let Some((_, key)) = self.expiring.first().filter(|(until, _)| *until <= now) else { return };
            let key = Arc::clone(key);
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(map: &mut SharedMap, key: &[u8], value: &[u8]) -> Result<(), i32> {
        map.set(key, value, None, Instant::now)
    }

    fn get(map: &SharedMap, key: &[u8]) -> Option<Arc<[u8]>> {
        map.get(key, Instant::now)
    }

    #[test]
    fn map_is_bounded_and_replacing_a_value_frees_its_bytes() {
        let mut map = SharedMap::default();
        let value = vec![0; host_function::KV_VALUE_BYTES];
        let stored = (0_u8..).take_while(|key| set(&mut map, &[*key], &value).is_ok()).count();
        assert_eq!(stored, host_function::KV_TOTAL_BYTES / (value.len() + 1));
        assert_eq!(set(&mut map, b"more", &value), Err(host_function::KV_FULL));
        set(&mut map, &[0], b"small").unwrap();
        set(&mut map, b"more", &value).unwrap();
        assert_eq!(get(&map, &[0]).as_deref(), Some(&b"small"[..]));
        assert_eq!(
            set(&mut map, b"k", &[0; host_function::KV_VALUE_BYTES + 1]),
            Err(host_function::KV_VALUE_TOO_LARGE)
        );
    }

    #[test]
    fn map_takes_so_many_entries_and_no_more() {
        let mut map = SharedMap::default();
        let key = |number: usize| number.to_le_bytes();
        for number in 0..host_function::KV_ENTRIES {
            set(&mut map, &key(number), b"").unwrap();
        }
        assert_eq!(set(&mut map, &key(host_function::KV_ENTRIES), b""), Err(host_function::KV_FULL));
        set(&mut map, &key(7), b"another value").unwrap();
    }

    #[test]
    fn limits_may_grow_and_shrink_and_what_is_there_stays() {
        let mut map = SharedMap::default();
        map.limit(MapLimits { max_bytes: 20, max_entries: 2 });
        set(&mut map, b"a", b"1234").unwrap();
        set(&mut map, b"b", b"1234").unwrap();
        assert_eq!(set(&mut map, b"c", b""), Err(host_function::KV_FULL));
        map.limit(MapLimits { max_bytes: 20, max_entries: 3 });
        set(&mut map, b"c", b"").unwrap();
        map.limit(MapLimits { max_bytes: 5, max_entries: 0 });
        assert_eq!(get(&map, b"b").as_deref(), Some(&b"1234"[..]));
        assert_eq!(set(&mut map, b"b", b"12345"), Err(host_function::KV_FULL));
        map.remove(b"a");
        map.remove(b"c");
        set(&mut map, b"b", b"123").unwrap();
        assert_eq!(map.bytes, 4);
    }

    #[test]
    fn entry_is_gone_when_its_time_is_over_and_makes_room() {
        let start = Instant::now();
        let (at, second) = (|after: u64| move || start + Duration::from_secs(after), Duration::from_secs(1));
        let mut map = SharedMap::default();
        map.limit(MapLimits { max_bytes: 100, max_entries: 2 });
        map.set(b"a", b"1", Some(second), at(0)).unwrap();
        map.set(b"b", b"2", Some(5 * second), at(0)).unwrap();
        assert_eq!(map.set(b"c", b"3", None, at(0)), Err(host_function::KV_FULL));
        assert!(map.get(b"a", at(0)).is_some() && map.get(b"a", at(1)).is_none());
        map.set(b"c", b"3", None, at(1)).unwrap();
        assert_eq!((map.entries.len(), map.bytes), (2, 4));
        // The last writer says how long; without a time it is for good.
        map.set(b"b", b"4", None, at(2)).unwrap();
        assert!(map.get(b"b", at(1000)).is_some() && map.expiring.is_empty());
        map.set(b"b", b"5", Some(second), at(3)).unwrap();
        map.set(b"b", b"6", Some(9 * second), at(3)).unwrap();
        assert_eq!((map.expiring.len(), map.get(b"b", at(5)).as_deref()), (1, Some(&b"6"[..])));
        map.remove(b"b");
        assert!(map.expiring.is_empty() && map.get(b"b", at(3)).is_none());
        map.set(b"b", b"", Some(Duration::MAX), at(3)).unwrap();
        assert!(map.get(b"b", at(1 << 40)).is_some(), "longer than the clock goes is for good");
    }

    #[test]
    fn one_call_removes_a_few_of_those_that_ended() {
        let start = Instant::now();
        let mut map = SharedMap::default();
        for number in 0_u32..1000 {
            map.set(&number.to_le_bytes(), b"", Some(Duration::from_millis(1)), || start).unwrap();
        }
        let later = || start + Duration::from_secs(1);
        map.set(b"k", b"", None, later).unwrap();
        assert_eq!(map.entries.len(), 1000 - MAX_SWEPT + 1);
        for _ in 0..40 {
            map.set(b"k", b"", None, later).unwrap();
        }
        assert_eq!((map.entries.len(), map.expiring.len(), map.bytes), (1, 0, 1));
    }
}
