//! Lines of a file that nobody vouches for: one without an end takes no more memory than others.

use std::io;
use std::io::{BufRead, Read};

use serde::Serialize;

/// A longer line is none of a record or of a trace: a record of 256 workers takes less than a tenth of it.
const MAX_BYTES: u64 = 8 << 20;
/// Lines that are named.
const NAMED: usize = 5;

/// Reads lines of at most 8 MiB.
#[derive(Debug)]
pub struct BoundedLines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    /// The line that was read last goes on.
    is_cut: bool,
}

/// A line, without what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundedLine<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It has more than 8 MiB.
    TooLong,
}

/// Lines that are not what they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SkippedLines {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<SkippedLine>,
}

/// A line that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl<R: BufRead> BoundedLines<R> {
    /// The lines of this source.
    pub fn new(source: R) -> Self {
        Self { source, line: Vec::new(), number: 0, bytes: 0, is_cut: false }
    }

    /// The next line; `None` at the end. The rest of one that is too long is read only when another is asked
    /// for.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub fn next_line(&mut self) -> io::Result<Option<BoundedLine<'_>>> {
        while self.is_cut {
            let read = self.read()?;
            self.is_cut = read > 0 && self.line.last() != Some(&b'\n');
        }
        let read = self.read()?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        match self.line.strip_suffix(b"\n") {
            Some(line) => return Ok(Some(BoundedLine::Whole(line))),
            None => self.is_cut = read > MAX_BYTES,
        }
        Ok(Some(if self.is_cut { BoundedLine::TooLong } else { BoundedLine::Whole(&self.line) }))
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As much of a line as it may have, and the byte that ends it.
    fn read(&mut self) -> io::Result<u64> {
        self.line.clear();
        let read = self.source.by_ref().take(MAX_BYTES + 1).read_until(b'\n', &mut self.line)?;
        self.bytes += read as u64;
        Ok(read as u64)
    }
}

impl SkippedLines {
    /// One more.
    pub fn add(&mut self, line: u64, why: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(SkippedLine { line, why });
        }
    }

    /// How many there are and what is wrong with the first; `None` if there is none.
    pub fn note(&self) -> Option<String> {
        let SkippedLine { line, why } = self.first.first()?;
        Some(match self.count {
            1 => format!("line {line} is no record and left out: {why}"),
            count => format!("{count} lines are no records and left out; the first is line {line}: {why}"),
        })
    }
}

/// What is wrong with a line that is too long.
pub fn too_long() -> String {
    format!("longer than {MAX_BYTES} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 8 << 20;

    #[test]
    fn lines_up_to_the_bound_are_whole_and_those_after_a_longer_one_have_their_numbers() {
        let text = format!("a\n\n{}\n{}\nb", "x".repeat(MOST), "y".repeat(MOST + 1));
        let mut lines = BoundedLines::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            let length = match line {
                BoundedLine::Whole(line) => Some(line.len()),
                BoundedLine::TooLong => None,
            };
            found.push((lines.number(), length));
        }
        assert_eq!(found, [(1, Some(1)), (2, Some(0)), (3, Some(MOST)), (4, None), (5, Some(1))]);
        assert_eq!(lines.bytes(), text.len() as u64);
    }

    #[test]
    fn line_without_an_end_is_read_no_further_than_the_bound() {
        let mut lines = BoundedLines::new(io::BufReader::new(io::repeat(0)));
        assert_eq!(lines.next_line().unwrap(), Some(BoundedLine::TooLong));
        assert_eq!(lines.bytes(), MOST as u64 + 1);
    }

    #[test]
    fn note_says_how_many_lines_are_left_out_and_names_the_first() {
        let mut skipped = SkippedLines::default();
        assert_eq!(skipped.note(), None);
        skipped.add(3, "odd".to_owned());
        assert_eq!(skipped.note().as_deref(), Some("line 3 is no record and left out: odd"));
        (4..20).for_each(|line| skipped.add(line, "worse".to_owned()));
        let note = "17 lines are no records and left out; the first is line 3: odd";
        assert_eq!((skipped.note().as_deref(), skipped.first.len()), (Some(note), NAMED));
    }
}
