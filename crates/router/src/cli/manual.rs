//! `sgl-router man`: pages of the manual, from the flags.

use std::fs;
use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::cli::shown_command::shown;
use sglang_router_rs::types::shown_path;

/// Flags of `man`.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// The page of a command, such as serve, or plugin push [default: that of sgl-router]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    page: Vec<String>,
    /// Folder into which all pages are written, one for each command; it is made if it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManualError {
    /// There is no such command.
    #[error("found no command {name:?}; there are: {known}")]
    NoCommand {
        /// What was asked for.
        name: String,
        /// The commands at that place.
        known: String,
    },
    /// It cannot be written.
    #[error("cannot write {place}")]
    Write {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// Prints a page of the manual, or writes all of them.
///
/// # Errors
///
/// [`ManualError`] if there is no such command, or the page cannot be written.
pub fn run(args: &ManualArgs, command: &Command) -> Result<(), ManualError> {
    let mut command = shown(command);
    let at = |place: String| move |source| ManualError::Write { place, source };
    if let Some(dir) = &args.dir {
        let place = shown_path(dir);
        fs::create_dir_all(dir).map_err(at(place.to_string()))?;
        return clap_mangen::generate_to(without_help(command), dir).map_err(at(place.to_string()));
    }
    command.build();
    let mut page = &command;
    for name in &args.page {
        page = page.find_subcommand(name).ok_or_else(|| {
            let known: Vec<&str> = page.get_subcommands().map(Command::get_name).collect();
            ManualError::NoCommand { name: name.clone(), known: known.join(", ") }
        })?;
    }
    let mut text = Vec::new();
    let written = Man::new(page.clone()).render(&mut text);
    written.and_then(|()| io::stdout().write_all(&text)).map_err(at("the page".to_owned()))
}

/// The command without the subcommands `help`: each page tells of its command, so they need none.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
