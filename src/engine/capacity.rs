//! How many instances the pooling allocator can hold, and who has reserved them.
//!
//! Going over a pooling total is an error in wasmtime; a pool that reserves its share first never
//! meets it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::error::EngineError;

/// The ledger of one engine.
#[derive(Debug)]
pub(crate) struct Capacity {
    total: usize,
    reserved: Mutex<usize>,
}

impl Capacity {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, reserved: Mutex::new(0) })
    }

    /// Reserves room for `asked` instances until the reservation is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, asked: usize) -> Result<Reservation, EngineError> {
        let mut reserved = self.reserved.lock();
        if asked > self.total - *reserved {
            return Err(EngineError::Capacity { asked, reserved: *reserved, total: self.total });
        }
        *reserved += asked;
        Ok(Reservation { capacity: Arc::clone(self), count: asked })
    }
}

/// Room for some instances; given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    capacity: Arc<Capacity>,
    count: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.capacity.reserved.lock() -= self.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservation_beyond_the_total_is_refused_until_another_is_dropped() {
        let capacity = Capacity::new(10);
        let first = capacity.reserve(6).unwrap();
        let refused = capacity.reserve(5).unwrap_err();
        assert!(matches!(refused, EngineError::Capacity { asked: 5, reserved: 6, total: 10 }));
        drop(first);
        capacity.reserve(10).unwrap();
    }
}
