//! What goes to standard output: text for people, or JSON for scripts.

use std::io::Write;

use serde::Serialize;

use crate::cli::plugin::command_error::CommandError;
use sglang_router_rs::types::printable_lines;

/// Prints a value, as JSON or as the text that `text` makes of it.
///
/// # Errors
///
/// [`CommandError::Output`] if nobody reads it.
pub(crate) fn print<T: Serialize>(
    value: &T,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> Result<(), CommandError> {
    let text = if json {
        serde_json::to_string(value).map_err(|error| CommandError::Answer(error.to_string()))? + "\n"
    } else {
        // Each part that must be one line was made one where it was inserted; this is the last check.
        printable_lines(&text(value))
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
