//! The `sgl-router` binary.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
#[cfg(feature = "tools")]
use sgl_router::cli::calibrate;
#[cfg(feature = "tools")]
use sgl_router::cli::calibrate::CalibrateArgs;
use sgl_router::cli::compile_worker::CompileWorkerArgs;
use sgl_router::cli::key::KeyArgs;
#[cfg(feature = "tools")]
use sgl_router::cli::load;
#[cfg(feature = "tools")]
use sgl_router::cli::load::LoadArgs;
use sgl_router::cli::plugin::{CommandError, PluginArgs};
#[cfg(feature = "tools")]
use sgl_router::cli::sim_worker;
#[cfg(feature = "tools")]
use sgl_router::cli::sim_worker::SimWorkerArgs;
#[cfg(feature = "tools")]
use sgl_router::cli::simulate;
#[cfg(feature = "tools")]
use sgl_router::cli::simulate::SimulateArgs;
use sgl_router::cli::status::StatusArgs;
use sgl_router::cli::top::TopArgs;
use sgl_router::cli::{ServeArgs, compile_worker, key, plugin, serve, status, top};
use sglang_router_rs::types::{in_full, printable_lines};

/// A router for LLM inference servers whose balancing policy is a WebAssembly plugin
#[derive(Debug, Parser)]
#[command(name = "sgl-router", version, long_version = plugin::long_version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the router
    Serve(Box<ServeArgs>),
    #[cfg(feature = "tools")]
    SimWorker(Box<SimWorkerArgs>),
    Plugin(PluginArgs),
    Key(KeyArgs),
    Status(StatusArgs),
    Top(TopArgs),
    #[cfg(feature = "tools")]
    Load(Box<LoadArgs>),
    #[cfg(feature = "tools")]
    Simulate(Box<SimulateArgs>),
    #[cfg(feature = "tools")]
    Calibrate(Box<CalibrateArgs>),
    /// What the router starts to compile a module
    #[command(hide = true)]
    CompileWorker(CompileWorkerArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args).map_err(anyhow::Error::from),
        #[cfg(feature = "tools")]
        Command::SimWorker(args) => sim_worker::run(*args),
        Command::Key(args) => key::run(&args),
        Command::Plugin(args) => return operators_command(plugin::run(&args)),
        Command::Status(args) => return operators_command(status::run(&args)),
        Command::Top(args) => return operators_command(top::run(&args)),
        #[cfg(feature = "tools")]
        Command::Load(args) => return load_command(&args),
        #[cfg(feature = "tools")]
        Command::Simulate(args) => return simulate_command(&args),
        #[cfg(feature = "tools")]
        Command::Calibrate(args) => return calibrate_command(&args),
        Command::CompileWorker(args) => return compile_worker::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "sgl-router: {}", printable_lines(&in_full(&*error)));
            ExitCode::FAILURE
        }
    }
}

/// Scripts tell by the exit code what happened.
fn operators_command(done: Result<(), CommandError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nowhere to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "sgl-router: {}", printable_lines(&failure.to_string()));
            failure.exit_code()
        }
    }
}

/// Scripts tell by the exit code what happened.
#[cfg(feature = "tools")]
fn load_command(args: &LoadArgs) -> ExitCode {
    match load::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "sgl-router: {}", printable_lines(&in_full(&error)));
            error.exit_code()
        }
    }
}

/// Scripts tell by the exit code what happened.
#[cfg(feature = "tools")]
fn simulate_command(args: &SimulateArgs) -> ExitCode {
    match simulate::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "sgl-router: {}", printable_lines(&in_full(&error)));
            error.exit_code()
        }
    }
}

/// Scripts tell by the exit code what happened.
#[cfg(feature = "tools")]
fn calibrate_command(args: &CalibrateArgs) -> ExitCode {
    match calibrate::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "sgl-router: {}", printable_lines(&in_full(&error)));
            error.exit_code()
        }
    }
}
