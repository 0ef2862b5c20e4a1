//! The engine: wasmtime's configuration, and the parts that all plugins share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::limits::MAX_MEMORY_BYTES;
use crate::engine::aot_cache::AotCache;
use crate::engine::background::Background;
use crate::engine::capacity::Capacity;
use crate::engine::clock::Clock;
use crate::engine::compiler_process::CompilerProcess;
use crate::engine::error::EngineError;
use crate::engine::preparation::Preparation;

/// Stack of a guest, in bytes. Deeper recursion is a trap.
const MAX_WASM_STACK: usize = 256 << 10;

/// Stack of a fiber, in bytes: the guest's and what host functions need above it.
const FIBER_STACK: usize = 512 << 10;

/// What an instance may have resident beside its linear memory, in bytes: two tables, a fiber's stack,
/// and wasmtime's own data for it, which is limited to 1 MiB.
pub(crate) const BESIDE_MEMORY: u64 = 2 * 8 * 20_000 + FIBER_STACK as u64 + (1 << 20);

/// What can be set for an engine. One engine serves all plugins of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Instances that can live at once, over all plugins and generations: 1 to 10,000. Each
    /// reserves 4 GiB of address space and touches none of it. Default: 1024.
    pub max_instances: usize,
    /// Length of an epoch tick. A guest overruns its budget by at most two ticks. If no call has taken
    /// longer than a tick for a while, it may overrun by five ticks, but by at most half of the budget.
    /// Default: 1 ms.
    pub tick: Duration,
    /// Bytes that all plugins and generations may have resident together, with every instance at its
    /// largest; a load beyond that is refused. Replacing a plugin needs room for both of its generations
    /// and one instance more. Default: `None`, no limit.
    pub max_plugin_memory: Option<u64>,
    /// Where compiled modules are kept; `None` = nowhere. The directory is made with mode 0700
    /// and must belong to this user. Default: `None`.
    pub aot_cache: Option<PathBuf>,
    /// The process that compiles modules; `None` = this one, on a thread that nothing can end. Default:
    /// `None`. The router sets it.
    pub compiler: Option<CompilerProcess>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_instances: 1024,
            tick: Duration::from_millis(1),
            max_plugin_memory: None,
            aot_cache: None,
            compiler: None,
        }
    }
}

/// The Wasm engine: compiles modules and runs their guests.
#[derive(Debug)]
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) clock: Arc<Clock>,
    pub(crate) background: Background,
    pub(crate) preparation: Preparation,
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) cache: Option<AotCache>,
    pub(crate) compiler: Option<CompilerProcess>,
}

impl Engine {
    /// Starts an engine: reserves address space, starts the ticker and the background runtime.
    ///
    /// # Errors
    ///
    /// [`EngineError::Start`] if the system refuses any of it.
    pub fn new(options: &EngineOptions) -> Result<Arc<Self>, EngineError> {
        let wasm =
            wasmtime::Engine::new(&wasm_config(options)).map_err(|error| EngineError::Start(error.into()))?;
        let epoch = wasm.weak();
        let advance = move |ticks| {
            if let Some(engine) = epoch.upgrade() {
                (0..ticks).for_each(|_| engine.increment_epoch());
            }
        };
        let clock = Clock::start(options.tick, advance).map_err(|error| EngineError::Start(error.into()))?;
        let background = Background::start().map_err(|error| EngineError::Start(error.into()))?;
        let preparation = Preparation::start().map_err(|error| EngineError::Start(error.into()))?;
        let cache = match &options.aot_cache {
            Some(directory) => Some(AotCache::open(directory, &wasm)?),
            None => None,
        };
        let capacity = Capacity::new(options.max_instances, options.max_plugin_memory);
        let compiler = options.compiler.clone();
        Ok(Arc::new(Self { wasm, clock, background, preparation, capacity, cache, compiler }))
    }

    /// The clock that counts budgets.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

fn wasm_config(options: &EngineOptions) -> Config {
    let mut config = compile_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(options)));
    config
}

/// The settings that compiled code depends on: an engine with these compiles for all of ours, and needs
/// no address space for instances.
pub(crate) fn compile_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // A trap with a backtrace costs many times more; only the reason is reported.
        .wasm_backtrace_max_frames(None)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .max_wasm_stack(MAX_WASM_STACK)
        .async_stack_size(FIBER_STACK);
    config
}

fn pooling(options: &EngineOptions) -> PoolingAllocationConfig {
    let instances = u32::try_from(options.max_instances).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool
        // Each reserves 4 GiB of address space (bounds checks stay elided) and commits nothing.
        .total_memories(instances)
        .total_core_instances(instances)
        // Each reserves FIBER_STACK of address space.
        .total_stacks(instances)
        // Each reserves `table_elements` pointers of address space, 160 KB.
        .total_tables(instances.saturating_mul(2))
        .max_tables_per_module(2)
        .max_memories_per_module(1)
        .max_memory_size(MAX_MEMORY_BYTES)
        // Zeroed by hand up to here when an instance goes, instead of by one `madvise` (and its
        // inter-processor interrupts) per instance. Unused slots keep it resident.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    #[test]
    fn compiler_and_engine_agree_on_everything_that_code_depends_on() {
        let hash = |config: &Config| {
            let mut hasher = DefaultHasher::new();
            wasmtime::Engine::new(config).unwrap().precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let options = EngineOptions { max_instances: 2, ..EngineOptions::default() };
        assert_eq!(hash(&compile_config()), hash(&wasm_config(&options)));
    }
}
