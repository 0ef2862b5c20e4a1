//! A fresh store and instance of a core module for every decision, without WASI and without a
//! component around it: the least that an instance per call can cost.

use std::hint::black_box;
use std::path::Path;

use anyhow::Context;
use peer_message::Message;
use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::InstanceAllocationStrategy;
use wasmtime::InstancePre;
use wasmtime::Linker;
use wasmtime::Module;
use wasmtime::PoolingAllocationConfig;
use wasmtime::Store;

use crate::rounds::Shape;

/// An engine that can be interrupted, as every host of plugins needs it.
pub(crate) fn engine(pooling: bool) -> anyhow::Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    if pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()));
    }
    Ok(Engine::new(&config)?)
}

pub(crate) struct CoreModule {
    engine: Engine,
    module: InstancePre<()>,
    message: Message,
}

impl CoreModule {
    pub(crate) fn new(module: &Path, workers: usize, pooling: bool) -> anyhow::Result<Self> {
        let engine = engine(pooling)?;
        let module = Module::from_file(&engine, module)?;
        let mut linker = Linker::new(&engine);
        // It logs only before it panics.
        linker.define_unknown_imports_as_traps(&module)?;
        let module = linker.instantiate_pre(&module)?;
        Ok(Self { engine, module, message: Message::new(workers) })
    }

    fn decide(&mut self) -> anyhow::Result<i64> {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1);
        let instance = self.module.instantiate(&mut store)?;
        let realloc = instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut store, "cabi_realloc")?;
        let select = instance.get_typed_func::<(u32, u32), i64>(&mut store, "select")?;
        let memory = instance.get_memory(&mut store, "memory").context("no memory")?;
        let message = self.message.next();
        let length = u32::try_from(message.len())?;
        let pointer = realloc.call(&mut store, (0, 0, 1, length))?;
        memory.write(&mut store, pointer as usize, message)?;
        Ok(select.call(&mut store, (pointer, length))?)
    }
}

impl Shape for CoreModule {
    fn run(&mut self, calls: u32) -> anyhow::Result<()> {
        for _ in 0..calls {
            let index = black_box(self.decide()?);
            anyhow::ensure!(index >= 0, "the core module chose nobody");
        }
        Ok(())
    }
}
