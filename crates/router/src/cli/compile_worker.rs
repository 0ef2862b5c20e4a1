//! `sgl-router compile-worker`: what the router starts to compile a module. Not for people.

use std::io;
use std::process::ExitCode;

use clap::Args;

use sglang_router_rs::engine::{CompileLimits, compile_worker};
use sglang_router_rs::policies::MAX_MODULE_BYTES;

/// Compiles the module on standard input to standard output; the router starts it.
#[derive(Args, Clone, Debug)]
pub struct CompileWorkerArgs {
    /// Bytes of memory.
    #[arg(long)]
    max_memory: u64,
    /// Seconds of processor time.
    #[arg(long)]
    max_secs: u64,
}

/// Runs the subcommand.
pub fn run(args: &CompileWorkerArgs) -> ExitCode {
    let limits = CompileLimits {
        max_memory_bytes: args.max_memory,
        max_secs: args.max_secs,
        max_module_bytes: MAX_MODULE_BYTES as u64,
    };
    ExitCode::from(compile_worker::run(limits, io::stdin().lock(), io::stdout().lock(), io::stderr().lock()))
}
