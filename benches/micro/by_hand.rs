//! What a guest needs that is called with wasmtime alone.

use wasmtime::{Config, Engine, InstancePre, Linker, Module, PoolingAllocationConfig, Store};

use crate::stage;

/// As the router's engine has it.
pub(crate) fn pooling() -> PoolingAllocationConfig {
    let mut pooling = PoolingAllocationConfig::new();
    pooling.linear_memory_keep_resident(256 << 10).table_keep_resident(16 << 10);
    pooling
}

/// `least_connections`, compiled.
pub(crate) fn prepared(config: &Config) -> InstancePre<()> {
    let engine = Engine::new(config).expect("an engine");
    let module = Module::from_file(&engine, stage::module("least_connections")).expect("a module");
    let mut linker = Linker::new(&engine);
    // It logs only before it panics.
    linker.define_unknown_imports_as_traps(&module).expect("functions");
    linker.instantiate_pre(&module).expect("nothing else is imported")
}

/// A store that nothing interrupts.
pub(crate) fn store(pre: &InstancePre<()>) -> Store<()> {
    let mut store = Store::new(pre.module().engine(), ());
    store.set_epoch_deadline(1 << 40);
    // An engine without fuel has none to set.
    let _ = store.set_fuel(u64::MAX);
    store
}
