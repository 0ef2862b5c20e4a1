//! `sgl-router completions SHELL`.

use std::io;
use std::io::Write;

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::cli::shown_command::shown;

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions of this command for a shell.
///
/// # Errors
///
/// [`io::Error`] if nobody reads them.
pub fn run(args: &CompletionsArgs, command: &Command) -> io::Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut shown(command), "sgl-router", &mut script);
    let script = String::from_utf8_lossy(&script);
    // In bash, clap_complete writes the dash of a program's name in two ways, so that nothing is completed
    // behind a command (clap-rs/clap#6421).
    io::stdout().write_all(script.replace("sgl__subcmd__router", "sgl__router").as_bytes())
}
