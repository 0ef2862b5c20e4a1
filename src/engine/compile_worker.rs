//! The inside of the process that compiles one module and ends: the hidden subcommand `compile-worker`.
//!
//! It gets only a pipe with a module and one for the result. Before it reads a byte it gives up
//! everything else: memory and processor time beyond its limits, files, the network, priority, and a
//! life beyond the router's.

use std::io::{Read, Write};

use crate::engine::compiler_process::COMPILE_FAULT;
use crate::engine::error::BoxError;
use crate::engine::wasm_engine;

/// Added to the nice value.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// What the process may take.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// Memory in bytes.
    pub max_memory_bytes: u64,
    /// Seconds of processor time.
    pub max_secs: u64,
    /// Largest module, in bytes.
    pub max_module_bytes: u64,
}

/// Reads a module (its length as eight bytes, little endian, then its bytes) and writes the compiled
/// code. Call it once, before anything else, in a process that does nothing else: the process cannot
/// regain the rights that it gives up. Returns the exit code, and writes errors to `complaints`.
pub fn run(
    limits: CompileLimits,
    mut input: impl Read,
    mut output: impl Write,
    mut complaints: impl Write,
) -> u8 {
    // Before the limits: this reads files.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(4);
    let done = confine(limits)
        .and_then(|()| read_module(&mut input, limits.max_module_bytes))
        .map_err(|error| (1, error))
        .and_then(|wasm| compile(&wasm, threads))
        .and_then(|artifact| {
            output.write_all(&artifact).and_then(|()| output.flush()).map_err(|error| (1, error.into()))
        });
    match done {
        Ok(()) => 0,
        Err((code, error)) => {
            // If that fails too, nobody is left to tell.
            let _ = write!(complaints, "{error}");
            code
        }
    }
}

fn read_module(input: &mut impl Read, limit: u64) -> Result<Vec<u8>, BoxError> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > limit {
        return Err(format!("a module of {length} bytes was announced; the limit is {limit}").into());
    }
    let mut wasm = Vec::new();
    input.take(length).read_to_end(&mut wasm)?;
    if wasm.len() as u64 != length {
        return Err("the module ended early".into());
    }
    Ok(wasm)
}

fn compile(wasm: &[u8], threads: usize) -> Result<Vec<u8>, (u8, BoxError)> {
    let fault = u8::try_from(COMPILE_FAULT).unwrap_or(1);
    let engine = wasmtime::Engine::new(&wasm_engine::compile_config()).map_err(|error| (1, error.into()))?;
    // The compiler's own parallelism stays in the pool that starts it.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build();
    // The limit of memory is the only one here that a thread could meet.
    let pool = pool.map_err(|error| (1, format!("cannot allocate memory for a thread: {error}").into()))?;
    pool.install(|| engine.precompile_module(wasm)).map_err(|error| (fault, format!("{error:#}").into()))
}

#[cfg(target_os = "linux")]
fn confine(limits: CompileLimits) -> Result<(), BoxError> {
    use rustix::process::{Resource, Rlimit};
    // First: if the router is gone already, the input ends early.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let at_most = |resource, value: u64| {
        let before = rustix::process::getrlimit(resource).maximum;
        let value = Some(before.map_or(value, |before| before.min(value)));
        rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
    };
    // Limits data, not address space: the latter includes the program itself and what allocators only
    // reserve.
    at_most(Resource::Data, limits.max_memory_bytes)?;
    at_most(Resource::As, limits.max_memory_bytes.saturating_mul(2).saturating_add(1 << 30))?;
    at_most(Resource::Cpu, limits.max_secs)?;
    at_most(Resource::Fsize, 0)?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Nofile, 16)?;
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    // If that fails, only the priority is wrong.
    let _ = rustix::process::setpriority_process(None, nice + NICE);
    forbid_files()
}

#[cfg(not(target_os = "linux"))]
fn confine(_: CompileLimits) -> Result<(), BoxError> {
    // The router ends it after its time.
    Ok(())
}

/// Gives up files, directories and the network, as far as the kernel can enforce it. What is open stays
/// open.
#[cfg(target_os = "linux")]
fn forbid_files() -> Result<(), BoxError> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr};
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .create()?
        .restrict_self()?;
    Ok(())
}
