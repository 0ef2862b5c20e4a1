//! What a plugin was told, read back from the very message that it gets.

use serde::Serialize;
use serde_json::{Map, Value, json};

use sgl_policy_abi::{ColumnNumber, ColumnWidth, DecodeError, Input, Kind, Reader, RowsMessage, Wire};

/// Characters of a text that are told.
const MAX_TEXT: usize = 300;

/// Tokens or hashes that are told.
const MAX_LIST: usize = 16;

/// What a plugin was told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ToldQuestion {
    /// The form of the message: `columns` or `rows`.
    pub(crate) form: &'static str,
    /// Bytes of the message.
    pub(crate) message_bytes: usize,
    /// Inputs that there are once for each worker, in table order; null where it is not known.
    pub(crate) columns: Vec<ToldColumn>,
    /// Inputs that there are once.
    pub(crate) request: Map<String, Value>,
}

/// An input that there is once for each worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ToldColumn {
    pub(crate) input: String,
    pub(crate) values: Vec<Value>,
}

impl ToldQuestion {
    /// Reads a message of this form over so many workers.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is no such message, which the host never writes.
    pub(crate) fn read(
        wire: Wire,
        inputs: &[Input],
        message: &[u8],
        workers: usize,
    ) -> Result<Self, DecodeError> {
        match wire {
            Wire::Columns => Self::of_columns(inputs, message, workers),
            Wire::Rows => Self::of_rows(message),
        }
    }

    fn of_columns(inputs: &[Input], message: &[u8], workers: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        reader.array()?;
        let mut request = Map::new();
        request.insert("table version".to_owned(), json!(reader.uint()?));
        let mut columns = Vec::new();
        for input in inputs {
            let name = input.name().into_owned();
            match input.column_width() {
                Some(width) => {
                    let values = cells(input, width, reader.bin()?, workers);
                    columns.push(ToldColumn { input: name, values });
                }
                None => {
                    request.insert(name, value(input, &mut reader)?);
                }
            }
        }
        Ok(Self { form: "columns", message_bytes: message.len(), columns, request })
    }

    fn of_rows(message: &[u8]) -> Result<Self, DecodeError> {
        let rows = RowsMessage::decode(message)?;
        let column = |input: &str, values| ToldColumn { input: input.to_owned(), values };
        let workers: Vec<_> = rows.workers().collect::<Result<_, _>>()?;
        let columns = vec![
            column("url", workers.iter().map(|worker| json!(worker.url)).collect()),
            column("healthy", workers.iter().map(|worker| json!(worker.healthy)).collect()),
            column("load", workers.iter().map(|worker| json!(worker.load)).collect()),
        ];
        let mut request = Map::new();
        request.insert("request_text".to_owned(), rows.request_text.map_or(Value::Null, text));
        Ok(Self { form: "rows", message_bytes: message.len(), columns, request })
    }
}

fn cells(input: &Input, width: ColumnWidth, bytes: &[u8], workers: usize) -> Vec<Value> {
    let bit = |place: usize| bytes.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
    if width == ColumnWidth::Bit {
        return (0..workers).map(|place| json!(bit(place))).collect();
    }
    let is_float = matches!(input, Input::Column(column) if column.number() == ColumnNumber::F32);
    let load = matches!(input, Input::Column(column) if *column == sgl_policy_abi::Column::Load);
    let cell = |word: &[u8; 4]| {
        if is_float {
            // Of what is not finite JSON has nothing: it is null, as what is not known.
            return json!(f32::from_le_bytes(*word));
        }
        let number = i32::from_le_bytes(*word);
        if number < 0 && !load { Value::Null } else { json!(number) }
    };
    bytes.as_chunks::<4>().0.iter().map(cell).collect()
}

fn value(input: &Input, reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
    Ok(match (input, reader.kind()?) {
        (_, Kind::Nil) => {
            reader.nil();
            Value::Null
        }
        (Input::RequestTokens, _) => {
            list(reader.bin()?.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_le_bytes(*word))))
        }
        (Input::PrefixHashes, _) => {
            list(reader.bin()?.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)))
        }
        (Input::ArrivalRate, _) => json!(reader.number()?),
        (_, Kind::Str) => text(reader.str()?),
        _ => json!(reader.uint()?),
    })
}

/// A text, or its beginning and its length.
fn text(text: &str) -> Value {
    match text.char_indices().nth(MAX_TEXT) {
        None => json!(text),
        Some((end, _)) => json!(format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len())),
    }
}

/// A list, or its beginning and its length.
fn list(numbers: impl ExactSizeIterator<Item = u64>) -> Value {
    let count = numbers.len();
    let mut told: Vec<Value> = numbers.take(MAX_LIST).map(|number| json!(number)).collect();
    if count > MAX_LIST {
        told.push(json!(format!("… ({count} in all)")));
    }
    Value::Array(told)
}
