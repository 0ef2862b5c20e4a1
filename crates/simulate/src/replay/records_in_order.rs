//! Records in the order in which their requests came: a router writes them when they have ended.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::io::BufRead;

use sgl_api::{RecordLines, RequestRecord};
use sglang_router_rs::types::SkippedLines;

/// Bytes of lines that are read ahead: one that comes later than that is decided late.
const AHEAD_BYTES: usize = 32 << 20;
/// Records that are read ahead.
const AHEAD: usize = 8192;

/// A record that was read ahead. The greatest came first.
#[derive(Debug)]
struct Ahead {
    time: u64,
    number: u64,
    bytes: usize,
    record: RequestRecord,
}

impl Ahead {
    fn place(&self) -> (u64, u64) {
        (self.time, self.number)
    }
}

impl PartialEq for Ahead {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Ahead {}

impl PartialOrd for Ahead {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ahead {
    fn cmp(&self, other: &Self) -> Ordering {
        other.place().cmp(&self.place())
    }
}

/// Reads so far ahead that requests come in order, as a rule.
#[derive(Debug)]
pub(crate) struct RecordsInOrder<R> {
    lines: RecordLines<R>,
    ahead: BinaryHeap<Ahead>,
    ahead_bytes: usize,
    read: u64,
    is_over: bool,
}

impl<R: BufRead> RecordsInOrder<R> {
    pub(crate) fn new(lines: RecordLines<R>) -> Self {
        Self { lines, ahead: BinaryHeap::new(), ahead_bytes: 0, read: 0, is_over: false }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub(crate) fn next_record(&mut self) -> io::Result<Option<RequestRecord>> {
        while !self.is_over && self.ahead.len() < AHEAD && self.ahead_bytes < AHEAD_BYTES {
            match self.lines.next_record()? {
                Some((record, bytes)) => {
                    let (time, number) = (record.time_unix_ms, self.read);
                    self.read += 1;
                    self.ahead_bytes += bytes;
                    self.ahead.push(Ahead { time, number, bytes, record });
                }
                None => self.is_over = true,
            }
        }
        let first = self.ahead.pop();
        self.ahead_bytes -= first.as_ref().map_or(0, |first| first.bytes);
        Ok(first.map(|first| first.record))
    }

    /// Bytes that were read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// What was passed over.
    pub(crate) fn skipped(&self) -> &SkippedLines {
        self.lines.skipped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_in_their_order_though_they_ended_in_another() {
        let line = |id: &str, time_unix_ms| {
            let record =
                RequestRecord { request_id: id.to_owned(), time_unix_ms, ..RequestRecord::default() };
            serde_json::to_string(&record).unwrap() + "\n"
        };
        let text = [line("c", 30), line("a", 10), line("d", 30), line("b", 20)].concat();
        let mut records = RecordsInOrder::new(RecordLines::new(text.as_bytes()));
        let mut ids = Vec::new();
        while let Some(record) = records.next_record().unwrap() {
            ids.push(record.request_id);
        }
        assert_eq!(ids.concat(), "abcd");
        assert_eq!(records.ahead_bytes, 0);
    }
}
