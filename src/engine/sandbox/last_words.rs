//! What a guest said when it panicked, for the report of its failure.
//!
//! A guest without the standard library logs its message through the host and traps; one with it writes
//! to its standard error. Only the first tells where the guest is at that moment: a trap itself takes no
//! backtrace, which would make each trap many times as expensive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::{AsContext, WasmBacktrace};

use crate::types::shown;

/// Every line of a panic contains this, whoever writes it.
const PANIC: &str = "panicked at ";

/// Most backtraces taken of one module's guests: serving guests pay for them too, so not many.
const BACKTRACES: u32 = 16;

/// Functions of a backtrace that are reported.
const MAX_FRAMES: usize = 12;

/// Bytes of a message that are kept.
const MAX_BYTES: usize = 512;

/// Backtraces that may still be taken of a module's guests.
#[derive(Debug)]
pub(crate) struct BacktraceBudget(AtomicU32);

impl Default for BacktraceBudget {
    fn default() -> Self {
        Self(AtomicU32::new(BACKTRACES))
    }
}

impl BacktraceBudget {
    fn take(&self) -> bool {
        // Relaxed: one more or less does not matter.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// The last words of one guest.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    message: Option<String>,
    frames: Vec<String>,
}

impl LastWords {
    /// Reads a line of the guest; keeps it if it tells of a panic, and what follows it.
    pub(crate) fn hear(&mut self, line: &str) {
        if let Some(at) = line.find(PANIC) {
            let panic = line.get(at..).unwrap_or_default();
            self.message = Some(panic.chars().take(MAX_BYTES).collect());
        } else if let Some(message) = self.message.as_mut().filter(|said| said.len() < MAX_BYTES) {
            // The message itself, behind the place.
            if !line.starts_with("note: ") {
                message.push('\n');
                message.extend(line.chars().take(MAX_BYTES));
            }
        }
    }

    /// Adds where the guest was.
    pub(crate) fn locate(&mut self, frames: Vec<String>) {
        self.frames = frames;
    }

    /// The reason of a trap, after the guest's own words.
    pub(crate) fn before(&self, reason: String) -> String {
        match self.told() {
            Some(words) => format!("{words} ({reason})"),
            None => reason,
        }
    }

    /// The guest's words in one line; `None` if it did not panic.
    fn told(&self) -> Option<String> {
        let message = self.message.as_deref()?.replace('\n', " ");
        let mut text = shown(message.trim());
        if !self.frames.is_empty() {
            text.push_str("; in ");
            text.push_str(&self.frames.join(" < "));
        }
        Some(text)
    }
}

/// True if a line tells of a panic.
pub(crate) fn is_panic(line: &str) -> bool {
    line.contains(PANIC)
}

/// The names of the functions that the guest is in, innermost first, without those of the panic itself.
/// Empty if the module has no names, or its budget is used up.
pub(crate) fn frames(guest: impl AsContext, budget: &Arc<BacktraceBudget>) -> Vec<String> {
    if !budget.take() {
        return Vec::new();
    }
    let trace = WasmBacktrace::force_capture(guest);
    let names = trace.frames().iter().filter_map(|frame| frame.func_name());
    let names = names.map(|name| shown(&rustc_name(name)));
    let own = |name: &String| !name.starts_with("core::panicking") && !name.contains("panic_handler");
    names.filter(own).take(MAX_FRAMES).collect()
}

/// A name as written in Rust: demangled, and without the hash that Rust appends.
fn rustc_name(name: &str) -> String {
    let name = &format!("{:#}", rustc_demangle::demangle(name));
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            path.to_owned()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_of_the_standard_library_is_heard_over_its_lines() {
        let mut words = LastWords::default();
        words.hear("starting");
        assert_eq!(words.told(), None);
        words.hear("thread '<unnamed>' (1) panicked at src/lib.rs:7:5:");
        words.hear("index out of bounds");
        words.hear("note: run with `RUST_BACKTRACE=1`");
        assert_eq!(words.told().as_deref(), Some("panicked at src/lib.rs:7:5: index out of bounds"));
    }

    #[test]
    fn backtraces_of_one_module_are_few() {
        let budget = BacktraceBudget::default();
        assert_eq!((0..100).filter(|_| budget.take()).count(), BACKTRACES as usize);
    }

    #[test]
    fn hash_of_a_rust_name_is_left_out() {
        assert_eq!(rustc_name("plugin::choose::h0123456789abcdef"), "plugin::choose");
        assert_eq!(rustc_name("plugin::hello"), "plugin::hello");
    }

    #[test]
    fn name_is_told_as_it_is_written_in_rust() {
        for name in [
            "_ZN63_$LT$policy..Mine$u20$as$u20$sgl_policy_sdk..policy..Policy$GT$6select17h0123456789abcdefE",
            "<policy::Mine as sgl_policy_sdk::policy::Policy>::select::h0123456789abcdef",
        ] {
            assert_eq!(rustc_name(name), "<policy::Mine as sgl_policy_sdk::policy::Policy>::select");
        }
        assert_eq!(rustc_name("select_worker"), "select_worker");
    }
}
