//! Recorded requests: when they came and how long prompt and answer were.
//!
//! Three forms are read, told apart by the first line: the decision records of a router, JSON lines, as Mooncake publishes them
//! (`timestamp` in milliseconds, `input_length` and `output_length` in tokens, optionally
//! `hash_ids`, one per 512 tokens of the prompt, and as other tools have it `session_id` and `delay`, the
//! milliseconds since the answer before; other fields are read over), and the CSV of Azure's public data set (`TIMESTAMP,ContextTokens,GeneratedTokens`).

use std::io;
use std::io::BufRead;
use std::time::Duration;

use serde::Deserialize;

use crate::load::record_line::{RecordedRequest, TraceGaps, entries_of, is_record, record_line};
use crate::load::trace_entry::Entry;
use sglang_router_rs::types::{BoundedLine, BoundedLines, SkippedLine, SkippedLines, shown_number, too_long};

const CSV_HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
/// Longer prompts or answers are a mistake in the file, not a request.
const MOST_TOKENS: u32 = 4_000_000;
/// Milliseconds from 1970 to 2286: a timestamp beyond counts something else.
const MOST_MS: f64 = 1e13;

/// Recorded requests in order of time; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    entries: Vec<Entry>,
    gaps: TraceGaps,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no request in it.
    #[error("holds no request")]
    Empty,
    /// It has decision records that are of no use.
    #[error("none of its {records} records says how long the prompt was")]
    WithoutLengths {
        /// How many it has.
        records: u64,
    },
}

#[derive(Deserialize)]
struct JsonLine {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
    #[serde(default)]
    session_id: Option<SessionName>,
    #[serde(default)]
    delay: Option<f64>,
}

/// What files have as the name of a session.
#[derive(Deserialize)]
#[serde(untagged)]
enum SessionName {
    Text(Box<str>),
    Number(u64),
}

/// Reads a line: its time in milliseconds, and the rest.
type LineReader = fn(&str) -> Result<(f64, Entry), String>;

impl Trace {
    /// Reads a trace. Blank lines are skipped; requests that are out of order are put in order. Lines of a
    /// record file that are no records are left out, and counted among the [gaps](Self::gaps): a router that
    /// was killed leaves one.
    ///
    /// # Errors
    ///
    /// [`TraceError`] names the first bad line.
    pub fn read(text: impl BufRead) -> Result<Self, TraceError> {
        let TraceLines { mut entries, records, skipped, .. } = TraceLines::read(text)?;
        let (recorded, mut gaps) = entries_of(records);
        entries.extend(recorded);
        gaps.without_prefixes = entries.iter().all(|(_, entry)| entry.blocks.is_empty());
        gaps.skipped = skipped;
        entries.sort_by(|one, other| one.0.total_cmp(&other.0));
        let Some((first, _)) = entries.first() else { return Err(nothing_in(gaps)) };
        let first = *first;
        let offset = |(ms, entry): (f64, Entry)| {
            let at = Duration::try_from_secs_f64((ms - first) / 1000.0).unwrap_or_default();
            Entry { at, ..entry }
        };
        Ok(Self { entries: entries.into_iter().map(offset).collect(), gaps })
    }

    /// What it does not say.
    pub fn gaps(&self) -> &TraceGaps {
        &self.gaps
    }

    /// Tokens that a unit of its prompts has to have at least, so that each has an id of its own; `None` where
    /// the file has one for each unit and does not say how long these are.
    pub fn least_unit(&self) -> Option<u32> {
        let told = self.entries.iter().filter_map(|entry| entry.block_tokens);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and between 1 and 65,536: others are not read"
        )]
        told.max_by(f32::total_cmp).map(|tokens| tokens.ceil().max(1.0) as u32)
    }

    /// The requests.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// What lines hold, each in the form of the first.
#[derive(Default)]
struct TraceLines {
    /// With their times in milliseconds.
    entries: Vec<(f64, Entry)>,
    form: Option<LineReader>,
    records: Vec<RecordedRequest>,
    has_records: bool,
    skipped: SkippedLines,
}

impl TraceLines {
    fn read(text: impl BufRead) -> Result<Self, TraceError> {
        let (mut all, mut lines) = (Self::default(), BoundedLines::new(text));
        while let Some(line) = lines.next_line()? {
            let taken = match line {
                BoundedLine::Whole(line) => {
                    let text = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned());
                    text.and_then(|text| all.take(text.trim()))
                }
                BoundedLine::TooLong => Err(too_long()),
            };
            match taken {
                Ok(()) => {}
                Err(why) if all.has_records => all.skipped.add(lines.number(), why),
                Err(reason) => return Err(TraceError::Line { line: lines.number(), reason }),
            }
        }
        Ok(all)
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        self.has_records |= self.form.is_none() && is_record(text);
        if self.has_records {
            self.records.push(record_line(text)?);
            return Ok(());
        }
        let read = match self.form {
            Some(read) => read,
            None if text.trim_start_matches('\u{feff}') == CSV_HEADER => {
                self.form = Some(csv_line);
                return Ok(());
            }
            None => *self.form.insert(json_line),
        };
        self.entries.push(read(text)?);
        Ok(())
    }
}

/// Why there is no request in a file.
fn nothing_in(gaps: TraceGaps) -> TraceError {
    let records = gaps.without_prompt;
    match gaps.skipped.first.into_iter().next() {
        _ if records > 0 => TraceError::WithoutLengths { records },
        Some(SkippedLine { line, why }) => TraceError::Line { line, reason: why },
        None => TraceError::Empty,
    }
}

fn json_line(text: &str) -> Result<(f64, Entry), String> {
    // The line of serde's own message is always 1; only the column tells something.
    let line: JsonLine = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        message.split(" at line ").next().unwrap_or_default().to_owned()
    })?;
    let session = line.session_id.map(|name| match name {
        SessionName::Text(text) => text,
        SessionName::Number(number) => number.to_string().into(),
    });
    let delay = line.delay.map(|ms| {
        let delay = Duration::try_from_secs_f64(ms / 1000.0);
        delay.map_err(|_| format!("delay is {}: expected milliseconds, not below 0", shown_number(ms)))
    });
    let (ms, entry) = entry(line.timestamp, line.input_length, line.output_length, line.hash_ids)?;
    Ok((ms, Entry { session, delay: delay.transpose()?, ..entry }))
}

fn csv_line(text: &str) -> Result<(f64, Entry), String> {
    let mut fields = text.split(',');
    let (Some(time), Some(input), Some(output), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(format!("expected the three fields {CSV_HEADER}"));
    };
    let ms =
        csv_time(time).ok_or_else(|| format!("TIMESTAMP is {time:?}: expected 2023-11-16 18:17:03.97"))?;
    let tokens = |name: &str, text: &str| {
        text.parse().map_err(|_| format!("{name} is {text:?}: expected a number of tokens"))
    };
    entry(ms, tokens("ContextTokens", input)?, tokens("GeneratedTokens", output)?, Vec::new())
}

fn entry(ms: f64, input_tokens: u32, output_tokens: u32, blocks: Vec<u64>) -> Result<(f64, Entry), String> {
    if !(-MOST_MS..=MOST_MS).contains(&ms) {
        return Err(format!("timestamp is {}: expected milliseconds from the start", shown_number(ms)));
    }
    if !(1..=MOST_TOKENS).contains(&output_tokens) {
        return Err(format!("output_length is {output_tokens}: expected 1 to {MOST_TOKENS}"));
    }
    if input_tokens > MOST_TOKENS {
        return Err(format!("input_length is {input_tokens}: expected at most {MOST_TOKENS}"));
    }
    let at = Duration::ZERO;
    Ok((
        ms,
        Entry {
            at,
            input_tokens,
            output_tokens,
            blocks,
            block_tokens: None,
            session: None,
            delay: None,
            max_tokens: None,
        },
    ))
}

/// Milliseconds since 1970 of a UTC time such as `2023-11-16 18:17:03.9799600`.
fn csv_time(text: &str) -> Option<f64> {
    let (date, time) = text.split_once(' ')?;
    let mut date = date.split('-').map(str::parse::<u32>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.split(':');
    let (hour, minute): (u32, u32) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    let valid = date.next().is_none()
        && time.next().is_none()
        && (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && (0.0..61.0).contains(&second);
    let minutes = f64::from(days_since_1970(year, month, day) * 1440 + hour * 60 + minute);
    valid.then_some((minutes * 60.0 + second) * 1000.0)
}

/// Days of the Gregorian calendar, counted from March so that the leap day is a year's last
/// (Howard Hinnant, `days_from_civil`); for 1970 and later.
fn days_since_1970(year: u32, month: u32, day: u32) -> u32 {
    let year = year.saturating_sub(u32::from(month <= 2));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
    (365 * year + year / 4 + year / 400 + day_of_year).saturating_sub(year / 100 + 719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, TraceError> {
        Trace::read(text.as_bytes())
    }

    #[test]
    fn json_lines_are_read_put_in_order_and_counted_from_the_first() {
        let trace = read(
            "{\"timestamp\": 27500, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [0, 9]}\n\n\
             {\"timestamp\": 27000.5, \"input_length\": 12, \"output_length\": 52, \"extra\": null}\n",
        );
        let entries = trace.unwrap().entries;
        assert_eq!(
            entries,
            [plain(Duration::ZERO, 12, 52, &[]), plain(Duration::from_micros(499_500), 700, 5, &[0, 9])]
        );
    }

    fn plain(at: Duration, input_tokens: u32, output_tokens: u32, blocks: &[u64]) -> Entry {
        let blocks = blocks.to_vec();
        let (block_tokens, session, delay, max_tokens) = (None, None, None, None);
        Entry { at, input_tokens, output_tokens, blocks, block_tokens, session, delay, max_tokens }
    }

    #[test]
    fn session_may_have_any_name_and_say_how_long_it_paused() {
        let lines = "{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"session_id\":\"a\"}\n\
                     {\"timestamp\":9,\"input_length\":1,\"output_length\":1,\"session_id\":7,\"delay\":1500}\n";
        let entries = read(lines).unwrap().entries;
        let told = |at: usize| (entries[at].session.as_deref(), entries[at].delay);
        assert_eq!(told(0), (Some("a"), None));
        assert_eq!(told(1), (Some("7"), Some(Duration::from_millis(1500))));
        let bad = lines.replace("1500", "-1");
        assert_eq!(
            read(&bad).unwrap_err().to_string(),
            "line 2: delay is -1: expected milliseconds, not below 0"
        );
    }

    #[test]
    fn csv_is_read_over_the_end_of_a_leap_month() {
        let trace = read(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-29 23:59:59.5000000,4808,10\n\
             2024-03-01 00:00:00.2500000,3180,8\n",
        );
        let entries = trace.unwrap().entries;
        assert_eq!(entries[1].at, Duration::from_millis(750));
        assert_eq!((entries[0].input_tokens, entries[1].output_tokens), (4808, 8));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [((1970, 1, 1), 0), ((2000, 3, 1), 11_017), ((2023, 11, 16), 19_677)] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn bad_line_is_named_with_its_number_and_its_fault() {
        let good = r#"{"timestamp":1,"input_length":1,"output_length":1}"#;
        for (text, message) in [
            (format!("{good}\n\n{{\"timestamp\":2}}\n"), "line 3: missing field `input_length`"),
            (format!("{good}\nnonsense"), "line 2: expected ident"),
            (good.replace("\"output_length\":1", "\"output_length\":0"), "line 1: output_length is 0"),
            (
                good.replace("\"input_length\":1", "\"input_length\":-1"),
                "line 1: invalid value: integer `-1`",
            ),
            (good.replace("\"timestamp\":1", "\"timestamp\":1e99"), "line 1: timestamp is 1e99: expected"),
            (format!("{CSV_HEADER}\n2023-13-01 00:00:00,1,1"), "line 2: TIMESTAMP is \"2023-13-01"),
            (format!("{CSV_HEADER}\n2023-11-16 18:17:03.9,1"), "line 2: expected the three fields"),
            (format!("{CSV_HEADER}\n2023-11-16 18:17:03.9,1,x"), "line 2: GeneratedTokens is \"x\""),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        let error = Trace::read(io::BufReader::new(io::repeat(b'x'))).unwrap_err().to_string();
        assert_eq!(error, "line 1: longer than 8388608 bytes");
        let error = Trace::read(b"\xff\n".as_slice()).unwrap_err().to_string();
        assert_eq!(error, "line 1: it is not UTF-8");
    }

    #[test]
    fn lines_of_a_record_file_that_are_no_records_are_left_out_and_told_of() {
        let record = r#"{"time_unix_ms":9000,"outcome":{"prompt_tokens":5}}"#;
        let cut = &record[..30];
        for (text, requests, note) in [
            (format!("{record}\n{cut}"), 1, "line 2 is no record and left out: EOF while parsing"),
            (format!("{cut}\n{record}\n"), 1, "line 1 is no record and left out: EOF while parsing"),
            (
                format!("{record}\n\n{{}}\n{record}\n{cut}\n"),
                2,
                "2 lines are no records and left out; the first is line 3: missing field `time_unix_ms`",
            ),
        ] {
            let trace = read(&text).unwrap();
            assert_eq!(trace.entries.len(), requests, "{text}");
            let notes = trace.gaps().notes();
            assert!(notes.iter().any(|found| found.starts_with(note)), "{text}: {notes:?}");
        }
        assert!(read(cut).unwrap_err().to_string().starts_with("line 1: EOF while parsing"));
    }

    #[test]
    fn records_say_when_and_how_much_was_asked() {
        let record = r#"{"time_unix_ms":9000,"outcome":{"prompt_tokens":5}}"#;
        let both = format!("{record}\n{}", record.replace("9000", "8500"));
        let trace = read(&both).unwrap();
        let told: Vec<_> =
            trace.entries.iter().map(|one| (one.at, one.input_tokens, one.output_tokens)).collect();
        assert_eq!(told, [(Duration::ZERO, 5, 128), (Duration::from_millis(500), 5, 128)]);
        assert_eq!(trace.gaps().without_output, Some((2, 128)));
        let none = read(r#"{"time_unix_ms":9000}"#).unwrap_err();
        assert_eq!(none.to_string(), "none of its 1 records says how long the prompt was");
        assert!(matches!(read("\n \n"), Err(TraceError::Empty)));
        assert!(matches!(read(CSV_HEADER), Err(TraceError::Empty)));
    }
}
