//! A decision by an instance of its own, with wasmtime alone.

use std::hint::black_box;

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Store,
};

use crate::stage;

/// A compiled `least_connections` and the messages for it.
pub(crate) struct ByHand {
    engine: Engine,
    pre: InstancePre<()>,
    init: Vec<u8>,
}

impl ByHand {
    pub(crate) fn new() -> Self {
        let mut pooling = PoolingAllocationConfig::new();
        // As the router's engine has it.
        pooling.linear_memory_keep_resident(256 << 10).table_keep_resident(16 << 10);
        let mut config = Config::new();
        config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::from_file(&engine, stage::module("plugins/least_connections.wasm"));
        let module = module.expect("a module");
        let mut linker = Linker::new(&engine);
        // It logs only before it panics.
        linker.define_unknown_imports_as_traps(&module).expect("functions");
        let pre = linker.instantiate_pre(&module).expect("nothing else is imported");
        let init = serde_json::json!({"abi": 1, "plugin": "bench", "generation": 1, "config": {}, "seed": 1});
        Self { engine, pre, init: rmp_serde::to_vec_named(&init).expect("a message") }
    }

    /// Instantiates, starts, asks over eight workers, and drops.
    pub(crate) fn decide(&self) {
        // Five inputs: version, healthy, excluded, load, random.
        let mut select = vec![0x95, 1, 0xc4, 1, 0xff, 0xc4, 1, 0, 0xc4, 32];
        select.extend([0; 32]);
        select.push(0xcf);
        select.extend(fastrand::u64(..).to_be_bytes());
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = self.pre.instantiate(&mut store).expect("an instance");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        let alloc = instance.get_typed_func::<u32, u32>(&mut store, "alloc").expect("alloc");
        for (export, message) in [("init", &self.init), ("select_worker", &select)] {
            let func = instance.get_typed_func::<(u32, u32), i64>(&mut store, export).expect(export);
            let length = u32::try_from(message.len()).expect("short");
            let pointer = alloc.call(&mut store, length).expect("room");
            memory.write(&mut store, pointer as usize, message).expect("room");
            black_box(func.call(&mut store, (pointer, length)).expect("it answers"));
        }
    }
}
