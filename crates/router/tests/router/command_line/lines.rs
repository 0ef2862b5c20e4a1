//! Command lines, parsed as the binary does.

use sgl_router::cli::ServeArgs;
use sgl_router::cli::command_line;
use sgl_router::cli::command_line::RouterCommand;
use sgl_router::config::CheckedConfig;
use sgl_router::internals::configuration;

/// The flags of `serve` in these arguments, which follow the program's name.
pub(crate) fn parsed(arguments: &[&str]) -> Result<ServeArgs, String> {
    let arguments = ["sgl-router"].iter().chain(arguments);
    match command_line::parse(arguments.map(Into::into)) {
        Ok(line) => match line.command {
            RouterCommand::Serve(args) => Ok(*args),
            other => Err(format!("not serve: {other:?}")),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// The configuration that these arguments make.
pub(crate) fn configured(arguments: &[&str]) -> Result<CheckedConfig, String> {
    let args = parsed(arguments)?;
    configuration(&args).map_err(|faults| faults.in_one_line())
}
