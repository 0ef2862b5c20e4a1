//! The filter `tojson` of chat templates, which writes what Python's `json.dumps` writes.

use std::io::Write;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// `tojson`, as the libraries of models have it: not escaped for HTML, and with an optional `indent`.
pub(crate) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    // What is not said to be otherwise is as it is here; another choice is none that this can make.
    let keeps_letters = options.get::<Option<bool>>("ensure_ascii")? != Some(true);
    let keeps_order = options.get::<Option<bool>>("sort_keys")? != Some(true);
    options.assert_all_used()?;
    if !keeps_letters || !keeps_order {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson cannot sort keys or escape letters"));
    }
    let mut text = Vec::new();
    match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            let form = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut text, form)).map_err(failed)?;
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut text, OneLine)).map_err(failed)?,
    }
    let text = String::from_utf8(text)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from(text))
}

/// One line, with a space after each comma and colon.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if is_first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, is_first: bool) -> std::io::Result<()> {
        writer.write_all(if is_first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
