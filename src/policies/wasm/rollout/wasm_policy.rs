//! A plugin: a name, its state, and the generations in use.
//!
//! Only the rollout changes it; decisions see what its methods show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;

use crate::core::slice_versions::SliceVersions;
use crate::engine::wasm_engine::Engine;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::active::{Active, Canary};
use crate::policies::wasm::rollout::event::PluginEvent;
use crate::policies::wasm::rollout::phase::Watch;
use crate::policies::wasm::state::breaker::Breaker;
use crate::policies::wasm::state::fallback::Fallback;
use crate::policies::wasm::state::plugin_state::PluginState;
use crate::policies::wasm::state::stats::PluginStats;

/// A policy that is a plugin. Replacing its generation does not disturb its users.
///
/// # Concurrency
///
/// A decision takes its instance under the guard of `active`. A guest that may wait runs after the guard
/// is dropped, and its instance keeps its generation's pool alive; one on the caller's stack runs under
/// the guard. Nothing on the way takes a lock or counts on a shared cache line. Changes of `active`
/// happen under `watch`; whole operations of an operator, which wait in between, under `operation`. Lock
/// order: `operation`, `watch`.
#[derive(Debug)]
pub struct WasmPolicy {
    /// This plugin, for its work beside requests.
    itself: Weak<Self>,
    pub(super) name: String,
    pub(super) engine: Arc<Engine>,
    /// `None` once unloaded.
    pub(super) active: ArcSwapOption<Active>,
    /// True if a deciding generation may have to wait for the host. Beside `active`, so that a blocking
    /// caller need not read that twice.
    waits_for_host: AtomicBool,
    fallback: ArcSwap<Fallback>,
    breaker: Breaker,
    slices: SliceVersions,
    pub(super) state: Arc<PluginState>,
    pub(super) watch: Mutex<Watch>,
    pub(super) operation: tokio::sync::Mutex<()>,
    /// Signals each change of the generations in use.
    changes: tokio::sync::watch::Sender<u64>,
}

impl WasmPolicy {
    /// A plugin with its first generation. It signals later ones on `changes`.
    pub(crate) fn new(
        name: &str,
        engine: &Arc<Engine>,
        state: Arc<PluginState>,
        generation: Generation,
        changes: tokio::sync::watch::Sender<u64>,
    ) -> Arc<Self> {
        state.serve(&generation.kept);
        generation.limit_map();
        Arc::new_cyclic(|itself| Self {
            itself: Weak::clone(itself),
            name: name.to_owned(),
            engine: Arc::clone(engine),
            fallback: ArcSwap::from_pointee(Fallback::of(&generation.options)),
            breaker: Breaker::new(generation.options.breaker),
            waits_for_host: AtomicBool::new(generation.waits_for_host()),
            active: ArcSwapOption::from_pointee(Active::only(Arc::new(generation))),
            slices: SliceVersions::default(),
            state,
            watch: Mutex::default(),
            operation: tokio::sync::Mutex::default(),
            changes,
        })
    }

    /// The name it is loaded under.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    #[inline]
    pub(crate) fn state(&self) -> &Arc<PluginState> {
        &self.state
    }

    #[inline]
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    #[inline]
    pub(crate) fn slices(&self) -> &SliceVersions {
        &self.slices
    }

    /// A handle to itself that does not keep it alive.
    pub(crate) fn downgrade(&self) -> Weak<Self> {
        Weak::clone(&self.itself)
    }

    /// What happens if it fails now.
    pub(crate) fn fallback(&self) -> Guard<Arc<Fallback>> {
        self.fallback.load()
    }

    /// The generations in use; `None` once unloaded. Must not be held across an await.
    #[inline]
    pub(crate) fn in_use(&self) -> Guard<Option<Arc<Active>>> {
        self.active.load()
    }

    /// True if a deciding generation may have to wait for the host.
    #[inline]
    pub(crate) fn waits_for_host(&self) -> bool {
        // Relaxed: the generation itself is read with `active`.
        self.waits_for_host.load(Ordering::Relaxed)
    }

    /// Its last event.
    pub(crate) fn last_event(&self) -> Option<PluginEvent> {
        self.watch.lock().last_event.clone()
    }

    /// From now on this generation's failures count, its options apply, and the next one shares what it
    /// keeps.
    pub(super) fn serve(&self, generation: &Generation) {
        self.breaker.reset(generation.options.breaker);
        self.fallback.store(Arc::new(Fallback::of(&generation.options)));
        self.state.serve(&generation.kept);
        generation.limit_map();
    }

    /// The only place that replaces `active`; returns the value before.
    pub(super) fn activate(&self, next: Option<Arc<Active>>) -> Option<Arc<Active>> {
        let waits = next.as_ref().is_some_and(|active| active.waits_for_host());
        // The flag is set before generations that wait are visible, and cleared after they are gone: a
        // blocking caller that runs one on the wrong stack would get an error.
        if waits {
            self.waits_for_host.store(true, Ordering::SeqCst);
        }
        let shadow = next.as_ref().and_then(|active| active.shadow.clone());
        let before = self.active.swap(next);
        if let Some(old) = before.as_ref().and_then(|active| active.shadow.as_ref())
            && shadow.is_none_or(|new| !Arc::ptr_eq(&new, old))
        {
            old.stop();
        }
        if !waits {
            self.waits_for_host.store(false, Ordering::SeqCst);
        }
        self.changes.send_modify(|changes| *changes += 1);
        before
    }

    /// The generation that serves; `None` once unloaded.
    pub(crate) fn generation(&self) -> Option<Arc<Generation>> {
        self.active.load().as_ref().map(|active| Arc::clone(&active.stable))
    }

    /// Share of the decisions that go to the canary in percent, if there is one.
    pub fn canary_percent(&self) -> Option<f64> {
        self.active.load().as_ref()?.canary.as_ref().map(Canary::percent)
    }

    /// What is known about the plugin, for metrics and listings.
    pub fn stats(&self) -> PluginStats {
        let generation = self.generation();
        let totals = self.state.totals();
        let watch = self.watch.lock();
        PluginStats {
            name: self.name.clone(),
            generation: generation.as_ref().map_or(0, |generation| generation.id),
            live_generations: self.state.live_generations(),
            decisions: totals.decisions(),
            fallbacks: totals.fallbacks(),
            sheds: totals.sheds(),
            waits: totals.waits(),
            failures: totals.failures(),
            latency: totals.latency(),
            pool: generation.map(|generation| generation.pool.counts()).unwrap_or_default(),
            breaker_open: self.breaker.is_open(),
            log_suppressed: self.state.log_suppressed(),
            tmp_refusals: self.state.tmp_refusals(),
            completion_failures: self.state.completion_failures(),
            events_dropped: self.state.events_dropped(),
            generations: self.state.by_generation(),
            drains: self.state.drains(),
            swaps: watch.swaps,
            rollbacks: watch.rollbacks,
        }
    }
}
