//! How many instances the pooling allocator can hold and how much memory they may have, and who has
//! reserved both.
//!
//! Exceeding a pooling total is an error in wasmtime; a pool that reserves its share first never meets
//! it. Memory is reserved for the worst case: every instance at its largest.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::error::EngineError;

/// The ledger of one engine.
#[derive(Debug)]
pub(crate) struct Capacity {
    instances: usize,
    /// Bytes over all instances; `None` = no limit.
    bytes: Option<u64>,
    reserved: Mutex<CapacityShare>,
}

/// A part of the capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapacityShare {
    pub(crate) instances: usize,
    pub(crate) bytes: u64,
}

impl Capacity {
    pub(crate) fn new(instances: usize, bytes: Option<u64>) -> Arc<Self> {
        Arc::new(Self { instances, bytes, reserved: Mutex::default() })
    }

    /// Reserves room for `asked` instances of at most `bytes_each` until the reservation is dropped.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        asked: usize,
        bytes_each: u64,
    ) -> Result<Reservation, EngineError> {
        let mut reserved = self.reserved.lock();
        if asked > self.instances - reserved.instances {
            return Err(EngineError::Capacity { asked, reserved: reserved.instances, total: self.instances });
        }
        let bytes = bytes_each.saturating_mul(asked as u64);
        if let Some(limit) = self.bytes.filter(|limit| bytes > limit.saturating_sub(reserved.bytes)) {
            return Err(EngineError::MemoryLimit { asked: bytes, reserved: reserved.bytes, limit });
        }
        reserved.instances += asked;
        reserved.bytes = reserved.bytes.saturating_add(bytes);
        Ok(Reservation { capacity: Arc::clone(self), share: CapacityShare { instances: asked, bytes } })
    }

    /// What is reserved now.
    pub(crate) fn reserved(&self) -> CapacityShare {
        *self.reserved.lock()
    }
}

/// Room for some instances; given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    capacity: Arc<Capacity>,
    share: CapacityShare,
}

impl Reservation {
    /// The reserved amount.
    pub(crate) fn share(&self) -> CapacityShare {
        self.share
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.capacity.reserved.lock();
        reserved.instances -= self.share.instances;
        reserved.bytes = reserved.bytes.saturating_sub(self.share.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservation_beyond_the_total_is_refused_until_another_is_dropped() {
        let capacity = Capacity::new(10, None);
        let first = capacity.reserve(6, u64::MAX).unwrap();
        let refused = capacity.reserve(5, 1).unwrap_err();
        assert!(matches!(refused, EngineError::Capacity { asked: 5, reserved: 6, total: 10 }));
        drop(first);
        capacity.reserve(10, 1).unwrap();
    }

    #[test]
    fn memory_beyond_the_limit_is_refused_until_another_reservation_is_dropped() {
        let capacity = Capacity::new(10, Some(1000));
        let first = capacity.reserve(3, 200).unwrap();
        assert_eq!(capacity.reserved(), CapacityShare { instances: 3, bytes: 600 });
        let refused = capacity.reserve(3, 200).unwrap_err();
        assert!(matches!(refused, EngineError::MemoryLimit { asked: 600, reserved: 600, limit: 1000 }));
        let second = capacity.reserve(2, 200).unwrap();
        drop((first, second));
        assert_eq!(capacity.reserved(), CapacityShare::default());
        capacity.reserve(5, 200).unwrap();
    }
}
