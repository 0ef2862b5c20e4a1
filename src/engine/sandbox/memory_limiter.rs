//! How much memory, and how large a table, a guest may have.

use wasmtime::ResourceLimiter;

/// Elements that a guest's table may have: far above what a policy's function pointers need.
const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Memory and table limits of a store.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    max_bytes: usize,
    /// Set when growth was refused, to tell a memory failure from other traps.
    pub(crate) refused: bool,
    /// The largest size so far, in bytes.
    pub(crate) grown_to: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, refused: false, grown_to: 0 }
    }

    /// Linear memory at most, in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.max_bytes && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.grown_to = desired;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The guest sees -1, as if the limit had refused it: never a host error.
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum);
        // A table is memory too: a guest that fails for lack of it fails for lack of memory.
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_limit_is_refused_and_remembered() {
        let mut limits = MemoryLimiter::new(131_072);
        assert!(limits.memory_growing(0, 131_072, None).unwrap());
        assert!(!limits.refused);
        assert!(!limits.memory_growing(131_072, 196_608, None).unwrap());
        assert!(limits.refused);
        assert_eq!(limits.grown_to, 131_072);
    }
}
