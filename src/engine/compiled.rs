//! A compiled module with its imports resolved: what instances are stamped from.

use std::sync::Arc;

use wasmtime::{InstancePre, Module};

use crate::engine::compiler_process::{StillWanted, Supplier};
use crate::engine::error::EngineError;
use crate::engine::exports::Places;
use crate::engine::sandbox::{Sandbox, SandboxSpec, StoreData, wasi};
use crate::engine::wasm_engine::{BESIDE_MEMORY, Engine};

/// A module, compiled, linked against its sandbox.
pub struct Compiled {
    pub(crate) engine: Arc<Engine>,
    pub(crate) pre: InstancePre<StoreData>,
    pub(crate) places: Places,
    pub(crate) sandbox: Arc<Sandbox>,
    /// True if calls may have to wait for the host, so they cannot run on the caller's stack.
    pub(crate) host_futures: bool,
}

impl Compiled {
    /// Compiles a module that was validated before, or takes it from the compilation cache.
    ///
    /// Takes a fraction of a second for a large module: call it off the request path, and not on a thread
    /// that runs asynchronous tasks.
    ///
    /// # Errors
    ///
    /// [`EngineError::Compile`] or [`EngineError::Link`]; [`EngineError::CompileLimit`] or
    /// [`EngineError::CompilerProcess`] where a process of its own compiles.
    pub fn new(engine: &Arc<Engine>, wasm: &[u8], spec: SandboxSpec) -> Result<Self, EngineError> {
        let (_wanted, supplier) = StillWanted::new();
        Self::while_wanted(engine, wasm, spec, &supplier)
    }

    /// As [`new`](Self::new); if a process compiles, ends it as soon as the [`StillWanted`] of this supplier is
    /// gone.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn while_wanted(
        engine: &Arc<Engine>,
        wasm: &[u8],
        spec: SandboxSpec,
        supplier: &Supplier,
    ) -> Result<Self, EngineError> {
        let module = match engine.cache.as_ref().and_then(|cache| cache.load(&engine.wasm, wasm)) {
            Some(module) => module,
            None => compile(engine, wasm, supplier)?,
        };
        let sandbox = Arc::new(Sandbox::new(spec));
        let linker = sandbox.linker(&module)?;
        let pre = linker.instantiate_pre(&module).map_err(|error| EngineError::Link(error.into()))?;
        Ok(Self {
            engine: Arc::clone(engine),
            host_futures: wasi::needs_host_futures(&module),
            places: Places::of(pre.module()),
            pre,
            sandbox,
        })
    }

    /// The same module with other limits: nothing is compiled.
    ///
    /// # Errors
    ///
    /// [`EngineError::Link`].
    pub(crate) fn relink(&self, spec: SandboxSpec) -> Result<Self, EngineError> {
        let sandbox = Arc::new(Sandbox::new(spec));
        let module = self.pre.module();
        let linker = sandbox.linker(module)?;
        let pre = linker.instantiate_pre(module).map_err(|error| EngineError::Link(error.into()))?;
        Ok(Self {
            engine: Arc::clone(&self.engine),
            host_futures: self.host_futures,
            places: Places::of(pre.module()),
            pre,
            sandbox,
        })
    }

    /// Most bytes that one instance may have resident.
    pub(crate) fn max_instance_bytes(&self) -> u64 {
        self.sandbox.max_memory_bytes() as u64 + BESIDE_MEMORY
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("host_futures", &self.host_futures).finish_non_exhaustive()
    }
}

fn compile(engine: &Engine, wasm: &[u8], supplier: &Supplier) -> Result<Module, EngineError> {
    let module = match &engine.compiler {
        None => engine.preparation.compile(|| Module::from_binary(&engine.wasm, wasm)),
        Some(compiler) => load(engine, &compiler.compile(wasm, supplier)?),
    };
    let module = module.map_err(|error| EngineError::Compile(error.into()))?;
    if let Some(cache) = &engine.cache {
        cache.store(&module, wasm);
    }
    Ok(module)
}

/// Loads what the compiling process returned.
fn load(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Module> {
    #[expect(unsafe_code, reason = "wasmtime cannot check native code; the pipe vouches for it")]
    // SAFETY: these bytes came through a pipe from a process that we started from our own program for
    // this module alone; nobody else can write there. wasmtime checks that the engine that wrote them
    // has equal settings and its own version.
    let module = unsafe { Module::deserialize(&engine.wasm, artifact) };
    module
}
