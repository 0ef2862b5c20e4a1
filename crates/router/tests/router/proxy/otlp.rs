//! Reads what OTLP says of spans, as protobuf has it: as much of both as tests look at.

use std::collections::BTreeMap;

/// A span.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) state: String,
    /// Empty if it has none.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 1 internal, 2 server, 3 client.
    pub(crate) kind: u64,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// Values as text; those of lists in brackets.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    /// 0 unset, 2 error.
    pub(crate) status: u64,
    /// Who sent it.
    pub(crate) service: String,
}

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, with their numbers.
fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => {
                let (number, rest) = message.split_at(8);
                message = rest;
                Field::Number(u64::from_le_bytes(number.try_into().expect("eight bytes")))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(bytes)
            }
            5 => {
                let (number, rest) = message.split_at(4);
                message = rest;
                Field::Number(u64::from(u32::from_le_bytes(number.try_into().expect("four bytes"))))
            }
            kind => panic!("there is no field of kind {kind}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().expect("a whole number");
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// The messages in the fields of this number.
fn within(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter_map(move |(known, field)| match field {
        Field::Bytes(bytes) if known == number => Some(bytes),
        _ => None,
    })
}

fn number(message: &[u8], wanted: u64) -> u64 {
    let mut numbers = fields(message).into_iter().filter_map(|(known, field)| match field {
        Field::Number(value) if known == wanted => Some(value),
        _ => None,
    });
    numbers.next_back().unwrap_or_default()
}

fn text(message: &[u8], number: u64) -> String {
    let bytes = within(message, number).last().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn hex(message: &[u8], number: u64) -> String {
    within(message, number).last().unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(any: &[u8]) -> String {
    match fields(any).into_iter().next() {
        Some((1, Field::Bytes(text))) => String::from_utf8(text.to_vec()).expect("text"),
        Some((2, Field::Number(flag))) => (flag != 0).to_string(),
        Some((3, Field::Number(whole))) => whole.cast_signed().to_string(),
        Some((4, Field::Number(bits))) => f64::from_bits(bits).to_string(),
        Some((5, Field::Bytes(list))) => {
            format!("[{}]", within(list, 1).map(value).collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let pair = |pair: &[u8]| (text(pair, 1), within(pair, 2).map(value).next().unwrap_or_default());
    within(message, number).map(pair).collect()
}

/// The spans of a request to a collector.
pub(crate) fn spans_of(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in within(body, 1) {
        let resource: BTreeMap<String, String> =
            within(resource_spans, 1).flat_map(|resource| attributes(resource, 1)).collect();
        for span in within(resource_spans, 2).flat_map(|of_scope| within(of_scope, 2)) {
            spans.push(Span {
                trace: hex(span, 1),
                id: hex(span, 2),
                state: text(span, 3),
                parent: hex(span, 4),
                name: text(span, 5),
                kind: number(span, 6),
                begin: number(span, 7),
                end: number(span, 8),
                attributes: attributes(span, 9),
                events: within(span, 11).map(|event| text(event, 2)).collect(),
                status: within(span, 15).map(|status| number(status, 3)).last().unwrap_or_default(),
                service: resource.get("service.name").cloned().unwrap_or_default(),
            });
        }
    }
    spans
}
