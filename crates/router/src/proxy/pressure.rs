//! What the process itself may run short of: memory for bodies, descriptors for connections.
//!
//! Nothing of it is a worker's fault, so nothing of it counts against one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::metrics::{Metric, Metrics, catalogue};

/// The share of the memory that bodies may take by default: one half.
const SHARE_OF_MEMORY: u64 = 2;

/// Assumed where the system does not tell how much memory there is.
const ASSUMED_MEMORY_BYTES: u64 = 8 << 30;

/// Bodies in memory, connections of clients, and how often there was too little of something.
///
/// # Concurrency
///
/// All of it are counters of their own. Two bodies that grow at the same moment may both be refused
/// where one would have fitted.
#[derive(Debug)]
pub struct Pressure {
    max_body_bytes: u64,
    body_bytes: AtomicU64,
    connections: AtomicU64,
    closed_idle: AtomicU64,
    refused_bodies: AtomicU64,
    shortages: AtomicU64,
}

impl Pressure {
    /// Nothing is held. `None` = bodies may take half of the memory that the process may have.
    pub fn new(max_total_body_bytes: Option<u64>) -> Self {
        Self {
            max_body_bytes: max_total_body_bytes.unwrap_or_else(|| memory_bytes() / SHARE_OF_MEMORY),
            body_bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            closed_idle: AtomicU64::new(0),
            refused_bodies: AtomicU64::new(0),
            shortages: AtomicU64::new(0),
        }
    }

    /// What all bodies may take together.
    pub fn max_body_bytes(&self) -> u64 {
        self.max_body_bytes
    }

    /// A body of which nothing is there yet.
    pub fn body(self: &Arc<Self>) -> HeldBody {
        HeldBody { pressure: Arc::clone(self), bytes: AtomicU64::new(0) }
    }

    /// A client has connected.
    pub fn connected(&self) {
        // Relaxed, as everywhere here: counters that order nothing.
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A client's connection has ended.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection without a request was closed to make room.
    pub fn closed_idle(&self) {
        self.closed_idle.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused because its body had no room.
    pub fn refused_body(&self) {
        self.refused_bodies.fetch_add(1, Ordering::Relaxed);
    }

    /// A request failed because the router could make no connection, for want of something of its own.
    pub fn ran_short(&self) {
        self.shortages.fetch_add(1, Ordering::Relaxed);
    }

    /// Has everything shown by `metrics`.
    pub fn register(self: &Arc<Self>, metrics: &Metrics) {
        let own = Arc::clone(self);
        metrics.register(move |families| {
            let mut gauge = |metric: &'static Metric, value: &AtomicU64| {
                #[expect(clippy::cast_precision_loss, reason = "bytes and connections are far below 2^53")]
                let value = value.load(Ordering::Relaxed) as f64;
                families.family(metric).gauge(&[], value);
            };
            gauge(&catalogue::CLIENT_CONNECTIONS, &own.connections);
            gauge(&catalogue::BODY_BYTES, &own.body_bytes);
            let mut counters = |metric: &'static Metric, value: &AtomicU64| {
                families.family(metric).count(&[], value.load(Ordering::Relaxed));
            };
            counters(&catalogue::CLOSED_IDLE_CONNECTIONS, &own.closed_idle);
            counters(&catalogue::REFUSED_BODIES, &own.refused_bodies);
            counters(&catalogue::OWN_SHORTAGES, &own.shortages);
        });
    }
}

/// The bodies of all requests together would be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Bytes that all of them may take.
    pub limit: u64,
}

/// What a request's body takes. Given back when it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    pressure: Arc<Pressure>,
    bytes: AtomicU64,
}

/// A body that gives back what it takes when the last copy of it is dropped.
struct Counted {
    body: Bytes,
    _held: HeldBody,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl HeldBody {
    /// Looks whether `bytes` more would have room, without taking it.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn check(&self, bytes: u64) -> Result<(), NoRoom> {
        let limit = self.pressure.max_body_bytes;
        let held = self.pressure.body_bytes.load(Ordering::Relaxed);
        if held.saturating_add(bytes) > limit { Err(NoRoom { limit }) } else { Ok(()) }
    }

    /// Takes room for `bytes` more.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let limit = self.pressure.max_body_bytes;
        *self.bytes.get_mut() += bytes;
        let held = self.pressure.body_bytes.fetch_add(bytes, Ordering::Relaxed);
        if held.saturating_add(bytes) > limit { Err(NoRoom { limit }) } else { Ok(()) }
    }

    /// Gives back all that was taken.
    pub fn give_back(&mut self) {
        let bytes = std::mem::take(self.bytes.get_mut());
        self.pressure.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The body, which is from now on counted for as long as there is a copy of it. Needs an allocation.
    pub fn move_into(&self, body: Bytes) -> Bytes {
        // Relaxed: whoever swaps first has it.
        let bytes = AtomicU64::new(self.bytes.swap(0, Ordering::Relaxed));
        let held = Self { pressure: Arc::clone(&self.pressure), bytes };
        Bytes::from_owner(Counted { body, _held: held })
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The memory that this process may have: of the machine, or of its control group.
fn memory_bytes() -> u64 {
    let read = |path| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text));
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min().unwrap_or(ASSUMED_MEMORY_BYTES)
}

/// `MemTotal:  16316412 kB`
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_one_limit_and_give_back_what_they_held() {
        let pressure = Arc::new(Pressure::new(Some(100)));
        let mut first = pressure.body();
        first.grow(60).unwrap();
        let mut second = pressure.body();
        assert_eq!(second.check(41), Err(NoRoom { limit: 100 }));
        assert_eq!(second.grow(41), Err(NoRoom { limit: 100 }));
        drop(second);
        let mut third = pressure.body();
        third.grow(40).unwrap();
        drop((first, third));
        assert_eq!(pressure.body_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn body_counts_until_its_last_copy_is_dropped() {
        let pressure = Arc::new(Pressure::new(None));
        let mut held = pressure.body();
        held.grow(5).unwrap();
        let body = held.move_into(Bytes::from_static(b"hello"));
        drop(held);
        let slice = body.slice(1..3);
        drop(body);
        assert_eq!((&*slice, pressure.body_bytes.load(Ordering::Relaxed)), (&b"el"[..], 5));
        drop(slice);
        assert_eq!(pressure.body_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn memory_of_the_machine_is_read() {
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       16316412 kB\n"), Some(16_316_412 << 10));
        assert_eq!(total_of("MemTotal: much"), None);
        assert!(memory_bytes() > 1 << 20);
    }
}
