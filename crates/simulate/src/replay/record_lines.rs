//! Records from JSON lines, one at a time.

use std::io;
use std::io::{BufRead, Read};

use serde::Serialize;

use sgl_api::RequestRecord;

/// A longer line is none of a record: 256 workers take less than a tenth of it.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// Lines that are named.
const NAMED: usize = 5;

/// Lines that are no records.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SkippedLines {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<SkippedLine>,
}

/// A line that is no record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SkippedLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Reads records; what is none is passed over, counted and named.
#[derive(Debug)]
pub struct RecordLines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    skipped: SkippedLines,
}

impl<R: BufRead> RecordLines<R> {
    /// The records of these lines.
    pub fn new(source: R) -> Self {
        Self { source, line: Vec::new(), number: 0, bytes: 0, skipped: SkippedLines::default() }
    }

    /// The next record and the bytes of its line; `None` at the end.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub fn next_record(&mut self) -> io::Result<Option<(RequestRecord, usize)>> {
        loop {
            self.line.clear();
            let read = self.source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if read as u64 == MAX_LINE_BYTES && self.line.last() != Some(&b'\n') {
                self.pass_over()?;
                self.skip(format!("longer than {MAX_LINE_BYTES} bytes"));
            } else if !self.line.trim_ascii().is_empty() {
                match serde_json::from_slice(&self.line) {
                    Ok(record) => return Ok(Some((record, read))),
                    Err(error) => self.skip(error.to_string()),
                }
            }
        }
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was passed over so far.
    pub fn skipped(&self) -> &SkippedLines {
        &self.skipped
    }

    /// The rest of a line.
    fn pass_over(&mut self) -> io::Result<()> {
        loop {
            self.line.clear();
            let read = self.source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
            self.bytes += read as u64;
            if read == 0 || self.line.last() == Some(&b'\n') {
                return Ok(());
            }
        }
    }

    fn skip(&mut self, why: String) {
        self.skipped.count += 1;
        if self.skipped.first.len() < NAMED {
            self.skipped.first.push(SkippedLine { line: self.number, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> String {
        let record = RequestRecord { request_id: id.to_owned(), ..RequestRecord::default() };
        serde_json::to_string(&record).unwrap()
    }

    #[test]
    fn what_is_no_record_is_passed_over_and_named() {
        let long = "x".repeat(usize::try_from(MAX_LINE_BYTES).unwrap() + 10);
        let cut = &line("c")[..30];
        let text = format!("{}\n\nno json\n{long}\n{{\"a\": 1}}\n{}\n{cut}", line("a"), line("b"));
        let mut lines = RecordLines::new(text.as_bytes());
        let mut ids = Vec::new();
        while let Some((record, _)) = lines.next_record().unwrap() {
            ids.push(record.request_id);
        }
        assert_eq!(ids, ["a", "b"]);
        let named: Vec<u64> = lines.skipped().first.iter().map(|skipped| skipped.line).collect();
        assert_eq!((lines.skipped().count, named), (4, vec![3, 4, 5, 7]));
        assert_eq!(lines.bytes(), text.len() as u64);
    }
}
