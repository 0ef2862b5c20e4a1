//! What plugins log, caught before it goes anywhere.

use std::fmt;
use std::sync::Once;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// A line that a guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) plugin: String,
    pub(crate) level: Level,
    /// As the host escaped it, without the quotes.
    pub(crate) text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// Starts catching. Plugins must have names of their own: all tests share one log.
pub(crate) fn catch_logs() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing::subscriber::set_global_default(Catcher).expect("nothing else listens");
    });
}

/// Takes the lines that a plugin logged since the last time.
pub(crate) fn take_lines(plugin: &str) -> Vec<Line> {
    LINES.lock().extract_if(.., |line| line.plugin == plugin).collect()
}

/// Takes what `$echo` logged under a tag, as the bytes that it echoed.
pub(crate) fn take_echo(plugin: &str, tag: char) -> Vec<u8> {
    let start = format!("{tag}:");
    let lines = LINES
        .lock()
        .extract_if(.., |line| line.plugin == plugin && line.text.starts_with(&start))
        .collect::<Vec<_>>();
    let hex: String = lines.iter().map(|line| &line.text[2..]).collect();
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Takes what `$number` logged under a tag.
pub(crate) fn take_number(plugin: &str, tag: char) -> i64 {
    let bytes = take_echo(plugin, tag);
    i64::from_le_bytes(bytes.try_into().expect("one number"))
}

struct Catcher;

impl Subscriber for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sgl_plugin"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { plugin: String::new(), level: *event.metadata().level(), text: String::new() };
        event.record(&mut Fields(&mut line));
        LINES.lock().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            self.0.plugin = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "line" {
            self.0.text = format!("{value:?}").trim_matches('"').to_owned();
        }
    }
}
