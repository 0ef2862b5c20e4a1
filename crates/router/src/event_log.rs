//! The newest lines of the log, kept in memory for those who look at the router and not at its log.

use std::collections::VecDeque;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use sgl_api::EventView;
use sglang_router_rs::types::shown;

/// Lines that are kept.
const KEPT: usize = 256;

/// Fields of a line that are kept.
const MAX_FIELDS: usize = 16;

/// The newest lines of the log. A process has one log, so there is one of these.
///
/// # Concurrency
///
/// A lock, held for the time of a push; nothing on the way of a request writes a line above `debug`.
#[derive(Debug)]
pub(crate) struct EventLog {
    lines: Mutex<VecDeque<EventView>>,
}

/// The one of this process.
pub(crate) static EVENTS: EventLog = EventLog::new();

impl EventLog {
    const fn new() -> Self {
        Self { lines: Mutex::new(VecDeque::new()) }
    }

    fn push(&self, line: EventView) {
        let mut lines = self.lines.lock();
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The newest lines, the newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<EventView> {
        self.lines.lock().iter().rev().take(limit).cloned().collect()
    }
}

/// Keeps what the log is told in [`EVENTS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepEvents;

impl<S: Subscriber> Layer<S> for KeepEvents {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = EventLine::default();
        event.record(&mut line);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EVENTS.push(EventView {
            at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            level: word(*event.metadata().level()).to_owned(),
            what: line.what,
            about: line.about,
        });
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// A line as it is read from an event.
#[derive(Debug, Default)]
struct EventLine {
    what: String,
    about: Vec<String>,
}

impl EventLine {
    /// Fields hold what workers, guests and operators sent: one line each, and not a long one.
    fn take(&mut self, field: &Field, value: &str) {
        let value = shown(value);
        if field.name() == "message" {
            self.what = value;
        } else if self.about.len() < MAX_FIELDS {
            self.about.push(format!("{}={value}", field.name()));
        }
    }
}

impl Visit for EventLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn newest_lines_are_kept_with_their_fields() {
        let subscriber = tracing_subscriber::registry().with(KeepEvents);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..KEPT + 3 {
                tracing::info!(number, "counted");
            }
            tracing::warn!(worker = "http://w\n", "gone");
        });
        let newest = EVENTS.newest(2);
        assert_eq!(newest[0].level, "warn");
        assert_eq!(newest[0].what, "gone");
        // One line, whatever a field holds.
        assert!(newest[0].about[0].starts_with("worker=http://w") && !newest[0].about[0].contains('\n'));
        assert_eq!(newest[1].about, [format!("number={}", KEPT + 2)]);
        assert_eq!(EVENTS.newest(usize::MAX).len(), KEPT);
    }
}
