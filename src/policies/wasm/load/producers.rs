//! What a module says it was made with: its `producers` section.

use std::collections::BTreeMap;

use wasmparser::{BinaryReader, ProducersSectionReader};

use crate::types::shown;

/// Name of the custom section.
pub(crate) const SECTION: &str = "producers";

/// Entries that are kept, over all fields.
const MAX_ENTRIES: usize = 32;

/// By field (`language`, `processed-by`, `sdk`), names with versions. Nobody vouches for any of it.
pub(super) type Producers = BTreeMap<String, Vec<String>>;

/// Reads as much of the section as it can: nothing depends on it, so a fault in it does not refuse a
/// module.
pub(crate) fn read(bytes: &[u8]) -> Producers {
    let mut producers = Producers::new();
    let mut left = MAX_ENTRIES;
    let Ok(fields) = ProducersSectionReader::new(BinaryReader::new(bytes, 0)) else { return producers };
    for field in fields.into_iter().map_while(Result::ok) {
        for value in field.values.into_iter().map_while(Result::ok).take(left) {
            left = left.saturating_sub(1);
            let text = format!("{} {}", value.name, value.version);
            producers.entry(shown(field.name)).or_default().push(shown(text.trim_end()));
        }
    }
    producers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One field `processed-by` with this many values.
    fn section(values: u8) -> Vec<u8> {
        let mut bytes = vec![1, 12];
        bytes.extend(b"processed-by");
        bytes.push(values);
        for _ in 0..values {
            bytes.extend(b"\x05ru\x1bst\x031.9");
        }
        bytes
    }

    #[test]
    fn fields_are_read_escaped_and_bounded() {
        let two = read(&section(2));
        assert_eq!(two["processed-by"], [r"ru\u{1b}st 1.9", r"ru\u{1b}st 1.9"]);
        assert_eq!(read(&section(100))["processed-by"].len(), MAX_ENTRIES);
    }

    #[test]
    fn section_that_is_cut_short_gives_what_can_be_read() {
        let whole = section(2);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).values().map(Vec::len).sum::<usize>() < 2, "cut at {end}");
        }
    }
}
