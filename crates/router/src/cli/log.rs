//! Where log lines go, and which of them: `--log-level` and `--log-format`.

use std::io;
use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::cli::flags::LogFormat;
use crate::event_log::KeepEvents;

/// The words that tracing knows.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Other programs' words for levels, and the words here.
const OTHER_WORDS: [(&str, &str); 8] = [
    ("warning", "warn"),
    ("err", "error"),
    ("critical", "error"),
    ("fatal", "error"),
    ("notice", "info"),
    ("verbose", "debug"),
    ("none", "off"),
    ("notset", "trace"),
];

/// The target of all this program's events before it became several crates. A filter that names it means
/// the events of the other crates too.
const LIBRARY: &str = "sglang_router_rs";

/// The crates that were split off [`LIBRARY`].
const SPLIT_OFF: [&str; 3] = ["sgl_router", "sgl_upstream", "sgl_tools"];

/// The target of the events of NATS' client.
const NATS_CLIENT: &str = "async_nats";

/// Why there is no log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--log-level: found {found:?}; allowed: error, warn, info, debug, trace, off, or a list such as \
     info,sgl_plugin=debug as in RUST_LOG"
)]
pub struct LogLevelError {
    /// The part that is no level.
    found: String,
}

/// Starts the log on standard error. Colours only where that is a terminal and `NO_COLOR` is not set.
///
/// # Errors
///
/// [`LogLevelError`] names the part of the filter that is no level.
///
/// # Panics
///
/// If a log was started before.
pub(crate) fn start(level: &str, format: LogFormat) -> Result<(), LogLevelError> {
    let mut filter = filter(level)?;
    // It has a line for each try to connect; the fleet has one for each time that it is lost or back.
    if let (false, Ok(quiet)) = (level.contains(NATS_CLIENT), format!("{NATS_CLIENT}=error").parse()) {
        filter = filter.add_directive(quiet);
    }
    let has_colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_ansi(has_colours).with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Whatever of it standard error shows: operators look at the newest lines on their page.
    let is_kept =
        |event: &Metadata<'_>| *event.level() <= Level::INFO && !event.target().starts_with(NATS_CLIENT);
    let kept = KeepEvents.with_filter(filter_fn(is_kept).with_max_level_hint(LevelFilter::INFO));
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(kept).init();
    Ok(())
}

/// Whether a log can be started with this filter.
///
/// # Errors
///
/// As [`start`].
pub(crate) fn check(level: &str) -> Result<(), LogLevelError> {
    filter(level).map(drop)
}

/// The filter. A bare word must be a level: tracing takes any other word for a target, and would show
/// all of that and nothing else.
fn filter(text: &str) -> Result<EnvFilter, LogLevelError> {
    let fault = |found: &str| LogLevelError { found: found.to_owned() };
    let parts: Result<Vec<String>, LogLevelError> = text
        .split(',')
        .map(str::trim)
        .map(|part| match part.rsplit_once('=') {
            // Brackets may contain anything; tracing reads them.
            _ if part.contains(['[', ']']) => Ok(part.to_owned()),
            Some((target, word)) => Ok(format!("{target}={}", level(word).ok_or_else(|| fault(part))?)),
            None => level(part).map(str::to_owned).ok_or_else(|| fault(part)),
        })
        .collect();
    let parts = parts?;
    // The repeated parts come first: of two parts with one target, the last one wins.
    let all: Vec<String> = parts.iter().flat_map(|part| split_off(part)).chain(parts.clone()).collect();
    EnvFilter::try_new(all.join(",")).map_err(|_| fault(text))
}

/// Repeats a part of a filter that names the library, for each crate that was split off it.
fn split_off(part: &str) -> Vec<String> {
    let Some(rest) = part.strip_prefix(LIBRARY) else { return Vec::new() };
    let is_whole_name = ["=", "::", "["].iter().any(|next| rest.starts_with(next));
    // A comma inside brackets has cut the part in two; half of it would mean something else.
    let is_whole_part = rest.contains('[') == rest.contains(']');
    if !(is_whole_name && is_whole_part) {
        return Vec::new();
    }
    SPLIT_OFF.iter().map(|name| format!("{name}{rest}")).collect()
}

/// The level that a word means.
fn level(word: &str) -> Option<&'static str> {
    let known = LEVELS.iter().copied().find(|known| known.eq_ignore_ascii_case(word));
    known.or_else(|| {
        let other = OTHER_WORDS.iter().find(|(other, _)| other.eq_ignore_ascii_case(word));
        other.map(|(_, known)| *known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_programs_are_levels_too() {
        for (text, same) in [("warning", "warn"), ("CRITICAL", "error"), ("Info", "info"), ("none", "off")] {
            assert_eq!(filter(text).unwrap().to_string(), same, "{text}");
        }
        let filter = filter("info, sgl_plugin=warning").unwrap();
        assert_eq!(filter.to_string(), EnvFilter::new("info,sgl_plugin=warn").to_string());
    }

    #[test]
    fn word_that_is_no_level_is_refused_and_named() {
        for text in ["loud", "", "info,quiet", "sgl_plugin=loud", "info,,debug"] {
            let error = filter(text).unwrap_err().to_string();
            assert!(error.starts_with("--log-level: found ") && error.contains("warn"), "{text}: {error}");
        }
        assert_eq!(filter("info,quiet").unwrap_err(), LogLevelError { found: "quiet".to_owned() });
    }

    #[test]
    fn filter_of_the_library_holds_for_the_crates_that_were_split_off_it() {
        for (text, whole) in [
            (
                "warn,sglang_router_rs=debug",
                "sgl_router=debug,sgl_upstream=debug,sgl_tools=debug,warn,sglang_router_rs=debug",
            ),
            (
                "sglang_router_rs::proxy=debug,sgl_router::proxy=error",
                "sgl_router::proxy=error,sgl_upstream::proxy=debug,sgl_tools::proxy=debug,\
                 sglang_router_rs::proxy=debug",
            ),
            ("sglang_router_rs_other=debug", "sglang_router_rs_other=debug"),
            ("info,sgl_plugin=debug", "info,sgl_plugin=debug"),
        ] {
            assert_eq!(filter(text).unwrap().to_string(), EnvFilter::new(whole).to_string(), "{text}");
        }
    }

    #[test]
    fn filter_of_spans_and_fields_is_left_to_tracing() {
        assert!(filter("warn,sglang_router_rs[span{worker=\"w\"}]=debug").is_ok());
    }
}
