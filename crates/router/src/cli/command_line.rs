//! The command line of `sgl-router`.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::argv;
#[cfg(feature = "tools")]
use crate::cli::calibrate::CalibrateArgs;
use crate::cli::compile_worker::CompileWorkerArgs;
use crate::cli::completions::CompletionsArgs;
use crate::cli::flags::ServeArgs;
use crate::cli::fleet::FleetArgs;
use crate::cli::key::KeyArgs;
#[cfg(feature = "tools")]
use crate::cli::load::LoadArgs;
use crate::cli::manual::ManualArgs;
#[cfg(feature = "envoy")]
use crate::cli::picker::PickerArgs;
use crate::cli::plugin::PluginArgs;
use crate::cli::policy::PolicyArgs;
use crate::cli::reload_command::ReloadArgs;
use crate::cli::serve_flags::{dress, dress_picker};
#[cfg(feature = "tools")]
use crate::cli::sim_worker::SimWorkerArgs;
#[cfg(feature = "tools")]
use crate::cli::simulate::SimulateArgs;
use crate::cli::status::StatusArgs;
use crate::cli::top::TopArgs;
use crate::cli::usage_tips::with_tip;
use crate::cli::version;
use crate::cli::worker::WorkerArgs;

/// A router for LLM inference servers whose balancing policy is a WebAssembly plugin
///
/// Flags without a command are those of `serve`.
#[derive(Debug, Parser)]
#[command(name = "sgl-router", version, long_version = version::long())]
pub struct CommandLine {
    /// What is to be done.
    #[command(subcommand)]
    pub command: RouterCommand,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "help tells of a command what stands at its arguments")]
pub enum RouterCommand {
    /// Runs the router
    #[command(alias = "launch")]
    Serve(Box<ServeArgs>),
    #[cfg(feature = "envoy")]
    Picker(Box<PickerArgs>),
    #[cfg(feature = "tools")]
    SimWorker(Box<SimWorkerArgs>),
    Plugin(PluginArgs),
    Worker(WorkerArgs),
    Policy(PolicyArgs),
    Fleet(FleetArgs),
    Key(KeyArgs),
    Status(StatusArgs),
    Reload(ReloadArgs),
    Top(TopArgs),
    #[cfg(feature = "tools")]
    Load(Box<LoadArgs>),
    #[cfg(feature = "tools")]
    Simulate(Box<SimulateArgs>),
    #[cfg(feature = "tools")]
    Calibrate(Box<CalibrateArgs>),
    /// Prints what a shell completes commands and flags by
    Completions(CompletionsArgs),
    /// Prints pages of the manual, or writes them into a folder
    Man(ManualArgs),
    /// What the router starts to compile a module
    #[command(hide = true)]
    CompileWorker(CompileWorkerArgs),
}

/// The program's command, as it is parsed by.
pub fn command() -> clap::Command {
    let command = CommandLine::command().mut_subcommand("serve", dress);
    if cfg!(feature = "envoy") { command.mut_subcommand("picker", dress_picker) } else { command }
}

/// Reads a command line, the program's name first. Those of sglang-router and vllm-router behind their
/// name are read too.
///
/// # Errors
///
/// [`clap::Error`], which knows how to end the program; help and the version are such errors too.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let mut command = command();
    let arguments = argv::normal(arguments.into_iter().collect(), &command);
    let matches = command
        .try_get_matches_from_mut(&arguments)
        .map_err(|error| if serves(&arguments) { with_tip(error, &arguments) } else { error })?;
    CommandLine::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn serves(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|command| command == "serve" || command == "launch")
}
