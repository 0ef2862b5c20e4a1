//! Records from JSON lines, as a router appends them to a file, one at a time.

use std::io;
use std::io::BufRead;

use crate::request_record::RequestRecord;
use sglang_router_rs::types::{BoundedLine, BoundedLines, SkippedLines, too_long};

/// Reads records; what is none is passed over, counted and named.
#[derive(Debug)]
pub struct RecordLines<R> {
    lines: BoundedLines<R>,
    skipped: SkippedLines,
}

impl<R: BufRead> RecordLines<R> {
    /// The records of these lines.
    pub fn new(source: R) -> Self {
        Self { lines: BoundedLines::new(source), skipped: SkippedLines::default() }
    }

    /// The next record and the bytes of its line; `None` at the end.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub fn next_record(&mut self) -> io::Result<Option<(RequestRecord, usize)>> {
        loop {
            let why = match self.lines.next_line()? {
                None => return Ok(None),
                Some(BoundedLine::Whole(line)) if line.trim_ascii().is_empty() => continue,
                Some(BoundedLine::Whole(line)) => match serde_json::from_slice(line) {
                    Ok(record) => return Ok(Some((record, line.len()))),
                    Err(error) => said(&error),
                },
                Some(BoundedLine::TooLong) => too_long(),
            };
            self.skipped.add(self.lines.number(), why);
        }
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// What was passed over so far.
    pub fn skipped(&self) -> &SkippedLines {
        &self.skipped
    }
}

/// The line of the library's own message is always 1.
fn said(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
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
        let long = "x".repeat((8 << 20) + 10);
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
        assert_eq!(lines.skipped().first[0].why, "expected ident at column 2");
        assert_eq!(lines.bytes(), text.len() as u64);
    }
}
