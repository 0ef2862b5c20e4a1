//! What goes to standard output: text for people, or JSON for scripts.

use std::io::Write;

use serde::Serialize;

use crate::cli::plugin::exit::Failure;

/// Prints a value, as JSON or as the text that `text` makes of it.
///
/// # Errors
///
/// [`Failure::Output`] if nobody reads it.
pub fn print<T: Serialize>(value: &T, json: bool, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string(value).map_err(|error| Failure::Answer(error.to_string()))? + "\n"
    } else {
        text(value)
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
