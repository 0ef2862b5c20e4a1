//! The limits of what can be set for a plugin, each written once.

use std::ops::RangeInclusive;

/// Budget of a call, in milliseconds.
pub(crate) const EXECUTION_TIME_MS: RangeInclusive<u64> = 1..=30_000;

/// The most memory that any plugin may be given, in bytes: 100 MB.
pub(crate) const MAX_MEMORY_BYTES: usize = 100 * 1024 * 1024;

/// Memory of an instance, in bytes: one page at least.
pub(crate) const MEMORY_BYTES: RangeInclusive<usize> = 65_536..=MAX_MEMORY_BYTES;

/// Instances of one plugin.
pub(crate) const INSTANCES: RangeInclusive<usize> = 1..=1000;

/// Callers that may wait for one plugin.
pub(crate) const WAITING: RangeInclusive<usize> = 0..=1_000_000;

/// Time that a caller may wait for an instance, in milliseconds.
pub(crate) const WAIT_MS: RangeInclusive<u64> = 0..=60_000;

/// Answers in a row that have their requests wait.
pub(crate) const REASKS: RangeInclusive<u32> = 1..=1000;

/// Bytes that a plugin may have in its private directory: 1 GiB at most.
pub(crate) const TMP_BYTES: RangeInclusive<u64> = 0..=1 << 30;

/// Files that a plugin may have there.
pub(crate) const TMP_FILES: RangeInclusive<u64> = 0..=10_000;

/// Bytes of keys and values that a plugin's shared map may hold: 256 MiB at most.
pub(crate) const MAP_BYTES: RangeInclusive<usize> = 0..=256 << 20;

/// Entries that it may have. Each swap copies the map's index, and guests that write wait meanwhile.
pub(crate) const MAP_ENTRIES: RangeInclusive<usize> = 0..=262_144;

/// Longest name of a plugin, in bytes; they are all ASCII.
pub(crate) const MAX_NAME_BYTES: usize = 64;
