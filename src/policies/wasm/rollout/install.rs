//! Swapping, promoting, rolling back: every change of the generations in use.
//!
//! ```text
//!  load ─ immediate ─► stable, previous warm (probation) ─ time ─► settled
//!     │                      └─ too many failures ─► previous is stable again
//!     ├─ canary ─► share of decisions ─ bounds hold ─► immediate
//!     │                └─ a bound breaks ─► dropped
//!     └─ shadow ─► copies ─ promote by hand ─► immediate
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::rollout::{CanaryOptions, Rollout};
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::active::{Active, Canary};
use crate::policies::wasm::rollout::event::{Happened, PluginEvent, TakeOver};
use crate::policies::wasm::rollout::operation_error::OperationError;
use crate::policies::wasm::rollout::phase::Phase;
use crate::policies::wasm::rollout::shadow::Shadow;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

/// How often a canary is judged, while there is one. By a timer: a failure could wake the judge, but the
/// number of decisions that a promotion needs, and the time that they take, could do so only by a
/// comparison in each decision.
const CANARY_PERIOD: Duration = Duration::from_millis(20);

impl WasmPolicy {
    /// Brings a new generation into use as its options say. Returns the canary or shadow that it
    /// displaced.
    ///
    /// # Errors
    ///
    /// [`PluginError::HandOver`] if the guest's state could not be carried over; the old
    /// generation goes on with it.
    pub(crate) async fn install(
        self: &Arc<Self>,
        generation: Generation,
    ) -> Result<Option<u64>, PluginError> {
        let _operation = self.operation.lock().await;
        let rollout = generation.options.rollout;
        let generation = Arc::new(generation);
        match rollout {
            Rollout::Immediate => self.take_over(generation, TakeOver::Loaded).await,
            Rollout::Canary(options) => Ok(self.start_canary(generation, options)),
            Rollout::Shadow(options) => Ok(self.start_shadow(generation, options.every)),
        }
    }

    fn start_canary(self: &Arc<Self>, generation: Arc<Generation>, options: CanaryOptions) -> Option<u64> {
        let mut watch = self.watch.lock();
        let active = self.active.load_full()?;
        let what = Happened::CanaryStarted { generation: generation.id, percent: options.percent };
        let displaced = self.displace(&mut watch, &active, generation.id);
        let event = PluginEvent { what, displaced };
        tracing::info!(plugin = self.name, event = event.to_string(), "canary");
        let stable_before = active.stable.stats.seen();
        let under_way = watch.enter(Phase::Canary { options, since: Instant::now(), stable_before }, event);
        let canary = Some(Canary::new(generation, options.percent));
        self.switch(&active, Active { canary, shadow: None, previous: None, ..(*active).clone() });
        drop(watch);
        self.supervise(under_way, CANARY_PERIOD);
        displaced.map(|candidate| candidate.generation)
    }

    fn start_shadow(self: &Arc<Self>, generation: Arc<Generation>, every: u32) -> Option<u64> {
        let mut watch = self.watch.lock();
        let active = self.active.load_full()?;
        let what = Happened::ShadowStarted { generation: generation.id, every };
        let displaced = self.displace(&mut watch, &active, generation.id);
        let event = PluginEvent { what, displaced };
        tracing::info!(plugin = self.name, event = event.to_string(), "shadow");
        watch.enter(Phase::Shadow, event);
        let (plugin, id) = (Arc::downgrade(self), generation.id);
        let stats = self.state.count_as_shadow(id);
        let shadow = Arc::new(Shadow::new(generation, stats, every));
        shadow.start(move |reason| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.drop_candidate(Some(id), reason);
            }
        });
        let shadow = Some(shadow);
        self.switch(&active, Active { shadow, canary: None, previous: None, ..(*active).clone() });
        displaced.map(|candidate| candidate.generation)
    }

    /// Makes the canary or the shadow the stable generation.
    ///
    /// # Errors
    ///
    /// [`OperationError::NothingToPromote`], or what [`install`](Self::install) may fail with.
    pub(crate) async fn promote(self: &Arc<Self>) -> Result<u64, OperationError> {
        let _operation = self.operation.lock().await;
        let active = self.active.load_full().ok_or(OperationError::NotFound { name: self.name.clone() })?;
        let candidate = active.canary.as_ref().map(|canary| Arc::clone(&canary.generation));
        let candidate =
            candidate.or_else(|| active.shadow.as_ref().map(|shadow| Arc::clone(&shadow.generation)));
        let next = candidate.ok_or_else(|| OperationError::NothingToPromote { name: self.name.clone() })?;
        let id = next.id;
        self.take_over(next, TakeOver::Promoted).await?;
        Ok(id)
    }
}
