//! The `sgl-router` binary.

use std::io::Write;
use std::process::ExitCode;

#[cfg(feature = "tools")]
use sgl_router::cli::calibrate;
use sgl_router::cli::command_line::RouterCommand;
#[cfg(feature = "tools")]
use sgl_router::cli::load;
#[cfg(feature = "envoy")]
use sgl_router::cli::picker;
use sgl_router::cli::plugin::CommandError;
#[cfg(feature = "tools")]
use sgl_router::cli::sim_worker;
#[cfg(feature = "tools")]
use sgl_router::cli::simulate;
use sgl_router::cli::{
    command_line, compile_worker, completions, fleet, key, manual, plugin, policy, reload_command, serve,
    start_check, status, top, worker,
};
use sglang_router_rs::types::{in_full, printable_lines};

fn main() -> ExitCode {
    let command_line = command_line::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let result = match command_line.command {
        RouterCommand::Serve(args) if args.start_check.check => {
            return operators_command(start_check::run(&args));
        }
        RouterCommand::Serve(args) => serve::run(&args).map_err(anyhow::Error::from),
        #[cfg(feature = "envoy")]
        RouterCommand::Picker(args) if args.serve.start_check.check => {
            return operators_command(start_check::run(&args.serve_args()));
        }
        #[cfg(feature = "envoy")]
        RouterCommand::Picker(args) => picker::run(&args).map_err(anyhow::Error::from),
        #[cfg(feature = "tools")]
        RouterCommand::SimWorker(args) => sim_worker::run(*args),
        RouterCommand::Key(args) => key::run(&args),
        RouterCommand::Plugin(args) => return operators_command(plugin::run(&args)),
        RouterCommand::Worker(args) => return operators_command(worker::run(&args)),
        RouterCommand::Fleet(args) => return operators_command(fleet::run(&args)),
        RouterCommand::Status(args) => return operators_command(status::run(&args)),
        RouterCommand::Policy(args) => return operators_command(policy::run(&args)),
        RouterCommand::Reload(args) => return operators_command(reload_command::run(&args)),
        RouterCommand::Top(args) => return operators_command(top::run(&args)),
        #[cfg(feature = "tools")]
        RouterCommand::Load(args) => return load_command(&args),
        #[cfg(feature = "tools")]
        RouterCommand::Simulate(args) => return simulate_command(&args),
        #[cfg(feature = "tools")]
        RouterCommand::Calibrate(args) => return calibrate_command(&args),
        RouterCommand::Completions(args) => {
            completions::run(&args, &command_line::command()).map_err(anyhow::Error::from)
        }
        RouterCommand::Man(args) => manual::run(&args, &command_line::command()).map_err(anyhow::Error::from),
        RouterCommand::CompileWorker(args) => return compile_worker::run(&args),
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
fn load_command(args: &load::LoadArgs) -> ExitCode {
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
fn simulate_command(args: &simulate::SimulateArgs) -> ExitCode {
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
fn calibrate_command(args: &calibrate::CalibrateArgs) -> ExitCode {
    match calibrate::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "sgl-router: {}", printable_lines(&in_full(&error)));
            error.exit_code()
        }
    }
}
