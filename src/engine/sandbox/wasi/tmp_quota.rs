//! What the guests of a plugin have put into its private directory, and whether more fits.
//!
//! A call that could take space is charged before it is made, with the most that it can take. The sum of
//! the charges is never below the real use, and only rises. Once it says that the directory is full, the
//! directory is measured, and what was deleted meanwhile is given back:
//!
//! ```text
//!              fits ──► charge ──► the call ──► settle
//!  demand ──┤                                              charged = measured + since
//!              full ──► measure ──► fits ──► …
//!                               └─► full ──► EDQUOT
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use wasmtime_wasi::runtime::spawn_blocking;

use crate::engine::sandbox::tmp_limits::TmpLimits;
use crate::engine::sandbox::wasi::tmp_usage::{Usage, usage_of};

/// What a call may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    /// By how much it may enlarge the content.
    pub(crate) growth: Usage,
    /// What a measurement during the call may miss: all of a file's size, since the file may have been
    /// cut just before the call writes to its end.
    pub(crate) unseen: Usage,
    /// How many measurements there had been when this demand was computed.
    pub(crate) measurement: u64,
}

/// Whether a call may be made.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may.
    Granted(Charge),
    /// What it would take does not fit.
    Full,
    /// The demand was computed before the last measurement: compute it again.
    Stale,
}

/// The tally of one directory.
///
/// # Concurrency
///
/// `state` is locked for a few additions. `paths` is held for reading while names change, and for
/// writing while the directory is measured, which would miss a file that moves from a place not yet
/// measured to one already measured. Neither is held while a guest runs.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<LedgerState>,
    paths: Arc<RwLock<()>>,
}

#[derive(Debug, Default)]
struct LedgerState {
    /// Result of the last measurement.
    measured: Usage,
    /// What was charged since it began, and what it may have missed.
    since: Usage,
    /// What `since` will be once the present measurement is over.
    carried: Usage,
    measurements: u64,
    /// What calls under way may take. A measurement that begins now may miss it.
    under_way: Usage,
    /// The same for calls whose caller is gone: the system may still work on them.
    abandoned: Vec<Abandoned>,
    /// Files that guests have open, by address: a file may have no name any more.
    open: HashMap<usize, Weak<File>>,
}

#[derive(Debug)]
struct Abandoned {
    unseen: Usage,
    moves: bool,
    /// The descriptors of its guest. Whoever works on a file holds it.
    descriptors: Vec<Weak<File>>,
}

impl Abandoned {
    fn is_over(&self) -> bool {
        self.descriptors.iter().all(|descriptor| descriptor.strong_count() == 0)
    }
}

impl Ledger {
    /// How often the directory was measured: read this before a file's size.
    pub(crate) fn measurements(&self) -> u64 {
        self.state.lock().measurements
    }

    /// Remembers a guest's open files.
    pub(crate) fn note_open(&self, descriptors: &[Weak<File>]) {
        let open = &mut self.state.lock().open;
        open.retain(|_, file| file.strong_count() > 0);
        // An address is not used again while a `Weak` points to it.
        open.extend(descriptors.iter().map(|file| (file.as_ptr().addr(), Weak::clone(file))));
    }

    /// Hold this while names change.
    pub(crate) async fn names(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.paths).read_owned().await
    }

    /// Charges a call if there is room for it.
    pub(crate) fn charge(
        self: &Arc<Self>,
        limits: TmpLimits,
        demand: Demand,
        names: Option<OwnedRwLockReadGuard<()>>,
        descriptors: Vec<Weak<File>>,
    ) -> Admission {
        let mut state = self.state.lock();
        if names.is_none() && demand.measurement != state.measurements {
            return Admission::Stale;
        }
        let after = state.measured + state.since + demand.growth;
        // A limit may have been lowered: it does not refuse a call that takes nothing.
        if !(after.is_within(limits) || demand.growth.is_nothing()) {
            return Admission::Full;
        }
        state.since += demand.growth;
        state.carried += demand.unseen;
        state.under_way += demand.unseen;
        drop(state);
        let unseen = demand.unseen;
        Admission::Granted(Charge { ledger: Arc::clone(self), unseen, names, descriptors, settled: false })
    }

    /// Measures the directory, if that is possible now.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the tally as it was.
    pub(crate) async fn measure(&self, directory: &Path) {
        let _alone = self.paths.write().await;
        let Some(open) = self.begin() else { return };
        let directory = directory.to_owned();
        let found = spawn_blocking(move || usage_of(&directory, &open)).await;
        match found {
            Ok(found) => self.end(found),
            // For example too deep for a path. What is charged stays charged.
            Err(error) => tracing::debug!(%error, "a plugin's directory cannot be measured"),
        }
    }

    /// Returns the open files, unless names may still change.
    fn begin(&self) -> Option<Vec<Weak<File>>> {
        let mut state = self.state.lock();
        state.abandoned.retain(|call| !call.is_over());
        if state.abandoned.iter().any(|call| call.moves) {
            return None;
        }
        let abandoned = state.abandoned.iter().fold(Usage::default(), |sum, call| sum + call.unseen);
        state.carried = state.under_way + abandoned;
        Some(state.open.values().cloned().collect())
    }

    fn end(&self, found: Usage) {
        let mut state = self.state.lock();
        state.measured = found;
        state.since = state.carried;
        state.measurements += 1;
    }
}

/// A call that was charged. Settle it once it is over, however it ended. Dropped unsettled, it counts as
/// under way until nobody works on a file of its guest any more.
#[derive(Debug)]
pub(crate) struct Charge {
    ledger: Arc<Ledger>,
    unseen: Usage,
    names: Option<OwnedRwLockReadGuard<()>>,
    descriptors: Vec<Weak<File>>,
    settled: bool,
}

impl Charge {
    /// Notes that the call is over.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.ledger.state.lock();
        let under_way = state.under_way;
        state.under_way = Usage {
            bytes: under_way.bytes.saturating_sub(self.unseen.bytes),
            files: under_way.files.saturating_sub(self.unseen.files),
        };
        if !self.settled {
            let descriptors = std::mem::take(&mut self.descriptors);
            let call = Abandoned { unseen: self.unseen, moves: self.names.is_some(), descriptors };
            // Cleans up here too: for a plugin that never fills its directory, nothing else does.
            state.abandoned.retain(|call| !call.is_over());
            state.abandoned.push(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TmpLimits = TmpLimits { max_bytes: 100, max_files: 3 };

    fn demand(ledger: &Ledger, bytes: u64, files: u64) -> Demand {
        let usage = Usage { bytes, files };
        Demand { growth: usage, unseen: usage, measurement: ledger.measurements() }
    }

    fn granted(ledger: &Arc<Ledger>, bytes: u64, files: u64, on: Vec<Weak<File>>) -> Option<Charge> {
        match ledger.charge(LIMITS, demand(ledger, bytes, files), None, on) {
            Admission::Granted(charge) => Some(charge),
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_was_deleted_is_given_back_by_a_measurement() {
        let (ledger, directory) = (Arc::<Ledger>::default(), tempfile::tempdir().unwrap());
        granted(&ledger, 100, 1, vec![]).unwrap().settle();
        assert!(granted(&ledger, 1, 0, vec![]).is_none());
        std::fs::write(directory.path().join("left"), [0; 60]).unwrap();
        ledger.measure(directory.path()).await;
        assert!(granted(&ledger, 41, 0, vec![]).is_none());
        granted(&ledger, 40, 0, vec![]).unwrap().settle();
    }

    #[tokio::test]
    async fn call_under_way_is_not_lost_to_a_measurement() {
        let (ledger, directory) = (Arc::<Ledger>::default(), tempfile::tempdir().unwrap());
        let under_way = granted(&ledger, 70, 0, vec![]).unwrap();
        ledger.measure(directory.path()).await;
        assert!(granted(&ledger, 31, 0, vec![]).is_none());
        under_way.settle();
        ledger.measure(directory.path()).await;
        granted(&ledger, 100, 0, vec![]).unwrap().settle();
    }

    #[tokio::test]
    async fn abandoned_call_counts_until_nobody_works_on_its_files() {
        let (ledger, directory) = (Arc::<Ledger>::default(), tempfile::tempdir().unwrap());
        let file = Arc::new(tempfile::tempfile().unwrap());
        drop(granted(&ledger, 70, 0, vec![Arc::downgrade(&file)]).unwrap());
        ledger.measure(directory.path()).await;
        assert!(granted(&ledger, 31, 0, vec![]).is_none(), "the system may still be writing");
        drop(file);
        ledger.measure(directory.path()).await;
        granted(&ledger, 100, 0, vec![]).unwrap().settle();
    }

    #[test]
    fn abandoned_calls_do_not_pile_up() {
        let ledger = Arc::<Ledger>::default();
        for _ in 0..100 {
            let file = Arc::new(tempfile::tempfile().unwrap());
            drop(granted(&ledger, 0, 0, vec![Arc::downgrade(&file)]).unwrap());
        }
        assert_eq!(ledger.state.lock().abandoned.len(), 1);
    }

    #[tokio::test]
    async fn abandoned_rename_lets_nothing_be_given_back() {
        let (ledger, directory) = (Arc::<Ledger>::default(), tempfile::tempdir().unwrap());
        granted(&ledger, 100, 0, vec![]).unwrap().settle();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let (names, on) = (ledger.names().await, vec![Arc::downgrade(&file)]);
        drop(ledger.charge(LIMITS, Demand::default(), Some(names), on));
        ledger.measure(directory.path()).await;
        assert!(granted(&ledger, 1, 0, vec![]).is_none());
        drop(file);
        ledger.measure(directory.path()).await;
        granted(&ledger, 100, 0, vec![]).unwrap().settle();
    }

    #[tokio::test]
    async fn demand_from_before_a_measurement_is_stale() {
        let (ledger, directory) = (Arc::<Ledger>::default(), tempfile::tempdir().unwrap());
        let old = demand(&ledger, 1, 0);
        ledger.measure(directory.path()).await;
        assert!(matches!(ledger.charge(LIMITS, old, None, vec![]), Admission::Stale));
    }
}
