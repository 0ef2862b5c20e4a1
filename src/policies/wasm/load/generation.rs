//! One loaded, compiled, warmed version of a plugin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sgl_policy_abi::Concurrency;

use crate::config::plugin::{LaneOption, PluginOptions, WasmPolicyConfig};
use crate::engine::deadline::Allowance;
use crate::engine::error::CallError;
use crate::engine::lane::Lane;
use crate::engine::pool::Pool;
use crate::engine::pool::lease::Lease;
use crate::engine::wasm_engine::Engine;
use crate::policies::wasm::load::module_check::ModuleFacts;
use crate::policies::wasm::load::provenance::{Provenance, Supply};
use crate::policies::wasm::message::wire_plan::WirePlan;
use crate::policies::wasm::state::kept::Kept;
use crate::policies::wasm::state::lane_choice::LaneChoice;
use crate::policies::wasm::state::shared_map::MapLimits;
use crate::policies::wasm::state::stats::DecisionStats;

/// One version of a plugin, ready to decide.
///
/// Dropping it closes its pool: idle instances go at once, those in a call when it ends.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) id: u64,
    pub(crate) digest: String,
    pub(crate) loaded_at: SystemTime,
    pub(crate) config: WasmPolicyConfig,
    pub(crate) options: PluginOptions,
    pub(crate) facts: ModuleFacts,
    pub(crate) supply: Supply,
    pub(crate) plan: Arc<WirePlan>,
    pub(crate) pool: Arc<Pool>,
    /// How long a caller may wait: for an instance, and for the state.
    pub(crate) wait: Duration,
    /// How long its guest may run for one decision.
    pub(crate) allowance: Allowance,
    pub(crate) stats: Arc<DecisionStats>,
    /// What its guests keep with the host.
    pub(crate) kept: Arc<Kept>,
    /// The only instance of a serial generation whose memory was handed over. Nobody else may call it:
    /// decisions would be made twice.
    parked: Mutex<Option<Lease>>,
    /// Where asynchronous callers run the guest.
    pub(crate) lane: LaneChoice,
}

/// What a new generation is made of.
pub(crate) struct GenerationParts {
    pub(crate) id: u64,
    pub(crate) digest: String,
    pub(crate) config: WasmPolicyConfig,
    pub(crate) options: PluginOptions,
    pub(crate) facts: ModuleFacts,
    pub(crate) supply: Supply,
    pub(crate) plan: Arc<WirePlan>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) stats: Arc<DecisionStats>,
    pub(crate) kept: Arc<Kept>,
}

impl Generation {
    /// A number that no generation has had yet, process-wide.
    pub(crate) fn next_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness and rough order matter.
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn new(parts: GenerationParts) -> Self {
        let engine = &parts.pool.compiled().engine;
        let budget = Duration::from_millis(parts.config.max_execution_time_ms);
        let allowance = Allowance::new(budget, &engine.clock);
        engine.clock.expect(budget);
        let adaptive = parts.options.lane == LaneOption::Adaptive && !parts.pool.compiled().host_futures;
        Self {
            wait: Duration::from_millis(parts.options.max_wait_ms),
            allowance,
            loaded_at: SystemTime::now(),
            parked: Mutex::new(None),
            lane: LaneChoice::new(adaptive),
            id: parts.id,
            digest: parts.digest,
            config: parts.config,
            options: parts.options,
            facts: parts.facts,
            supply: parts.supply,
            plan: parts.plan,
            pool: parts.pool,
            stats: parts.stats,
            kept: parts.kept,
        }
    }

    /// Where it comes from, and who vouches for it.
    pub(crate) fn provenance(&self) -> Provenance {
        Provenance::of(&self.supply, &self.facts, &self.config)
    }

    /// The engine that it runs on.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.pool.compiled().engine
    }

    /// How long its guest may run for one decision.
    pub(crate) fn budget(&self) -> Duration {
        self.allowance.total()
    }

    /// Its guests' map may hold what its options say from now on.
    pub(crate) fn limit_map(&self) {
        self.kept.limit_map(MapLimits::of(&self.options));
    }

    /// Waits for an instance and begins a call on a fiber, beside the decisions.
    ///
    /// # Errors
    ///
    /// [`CallError`] if there is no instance in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn begin_call(&self) -> Result<Lease, CallError> {
        let mut lease = self.pool.acquire(self.wait).await?;
        lease.begin(Lane::Fiber, self.allowance);
        Ok(lease)
    }

    /// True if its calls may have to wait for the host, so they cannot run on the caller's stack.
    #[inline]
    pub(crate) fn waits_for_host(&self) -> bool {
        self.pool.compiled().host_futures
    }

    /// True if its guest remembers things that the next generation can take over.
    pub(crate) fn can_hand_over_to(&self, next: &Self) -> bool {
        let serial = |facts: &ModuleFacts| facts.manifest.concurrency == Concurrency::Serial;
        serial(&self.facts)
            && serial(&next.facts)
            && self.facts.has_save_state
            && next.facts.has_restore_state
    }

    /// Keeps its only instance from callers; new callers are turned away.
    pub(crate) fn park(&self, lease: Lease) {
        *self.parked.lock() = Some(lease);
    }

    /// Lets callers wait again, and returns the parked instance, if any.
    pub(crate) fn wake(&self) -> Option<Lease> {
        let lease = self.parked.lock().take();
        self.pool.resume();
        lease
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.pool.close();
    }
}
