//! Lines that wait to be written.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::access_log_section::LineForm;
use crate::proxy::access_log::line_form::write_line;
use crate::proxy::access_log::request_account::RequestAccount;
use crate::proxy::access_log::written_time::LineClock;
use sglang_router_rs::types::Sharded;

/// Bytes of lines that wait in one buffer; lines beyond are dropped, since a slow disk must not hold up
/// requests.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// One buffer for each thread: requests do not wait for each other's lines.
///
/// # Concurrency
///
/// A buffer's lock is held for the time that a line takes, or an exchange of pointers.
#[derive(Debug)]
pub(in crate::proxy::access_log) struct LineBuffers {
    form: LineForm,
    buffers: Sharded<Mutex<LineBuffer>>,
    /// True from the first line that nobody has taken until all are taken.
    has_lines: AtomicBool,
}

/// The lines of some threads' requests.
#[derive(Debug, Default)]
struct LineBuffer {
    clock: LineClock,
    lines: LineBatch,
}

/// Lines, and when each was over.
#[derive(Debug, Default)]
pub(in crate::proxy::access_log) struct LineBatch {
    text: Vec<u8>,
    ends: Vec<(Instant, Range<usize>)>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::access_log) enum LineFate {
    /// It waits, the first since lines were taken: somebody is to be told.
    First,
    /// It waits beside others.
    Another,
    /// It is gone: too many wait.
    Dropped,
}

impl LineBuffers {
    /// Without a line.
    pub(in crate::proxy::access_log) fn new(form: LineForm) -> Self {
        Self { form, buffers: Sharded::default(), has_lines: AtomicBool::new(false) }
    }

    /// Adds the line of a request that is over.
    pub(in crate::proxy::access_log) fn add(&self, account: &RequestAccount) -> LineFate {
        {
            let mut buffer = self.buffers.local().lock();
            let LineBuffer { clock, lines } = &mut *buffer;
            let begin = lines.text.len();
            if begin >= MAX_WAITING_BYTES {
                return LineFate::Dropped;
            }
            write_line(self.form, clock, account, &mut lines.text);
            lines.ends.push((account.started + account.duration, begin..lines.text.len()));
        }
        // Looked at first, which shares the line of memory: most find it set.
        if self.has_lines.load(Ordering::Acquire) || self.has_lines.swap(true, Ordering::AcqRel) {
            return LineFate::Another;
        }
        LineFate::First
    }

    /// True if lines wait.
    pub(in crate::proxy::access_log) fn has_lines(&self) -> bool {
        self.has_lines.load(Ordering::Acquire)
    }

    /// Takes all lines, those of each thread in one batch.
    pub(in crate::proxy::access_log) fn take(&self) -> Vec<LineBatch> {
        // Before they are taken: who adds one behind this tells of it again.
        self.has_lines.store(false, Ordering::SeqCst);
        let taken = self.buffers.iter().map(|buffer| std::mem::take(&mut buffer.lock().lines));
        taken.filter(|batch| !batch.ends.is_empty()).collect()
    }
}

/// The lines of all batches in the order of their ends, and how many they are.
pub(in crate::proxy::access_log) fn in_order(batches: &[LineBatch]) -> (Vec<u8>, u64) {
    let lines = batches.iter().flat_map(|batch| batch.ends.iter().map(move |line| (batch, line)));
    let mut lines: Vec<(Instant, &[u8])> =
        lines.filter_map(|(batch, (end, range))| Some((*end, batch.text.get(range.clone())?))).collect();
    lines.sort_by_key(|(end, _)| *end);
    let text = lines.iter().flat_map(|(_, text)| *text).copied().collect();
    (text, lines.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Request};

    use super::*;

    fn account(path: &str, began: Instant, millis: u64) -> RequestAccount {
        let request = Request::get(path).body(()).unwrap();
        let mut account = RequestAccount::begin(began, HeaderValue::from_static("c"), &request);
        account.duration = Duration::from_millis(millis);
        account
    }

    #[test]
    fn lines_of_all_threads_are_taken_in_the_order_of_their_ends() {
        let (buffers, began) = (LineBuffers::new(LineForm::Common), Instant::now());
        assert!(!buffers.has_lines());
        assert_eq!(buffers.add(&account("/c", began, 3)), LineFate::First);
        assert_eq!(buffers.add(&account("/a", began, 1)), LineFate::Another);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(buffers.add(&account("/b", began, 2)), LineFate::Another));
        });
        assert!(buffers.has_lines());
        let (text, count) = in_order(&buffers.take());
        let text = String::from_utf8(text).unwrap();
        let paths: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(6)).collect();
        assert_eq!((paths, count), (vec!["/a", "/b", "/c"], 3), "{text}");
        assert!(buffers.take().is_empty() && !buffers.has_lines());
        assert_eq!(buffers.add(&account("/d", began, 4)), LineFate::First);
    }

    #[test]
    fn lines_beyond_the_room_are_dropped_until_others_were_taken() {
        let (buffers, began) = (LineBuffers::new(LineForm::Common), Instant::now());
        let long = account(&format!("/{}", "a".repeat(60_000)), began, 1);
        let kept = (0..100).take_while(|_| buffers.add(&long) != LineFate::Dropped).count();
        assert_eq!(kept, MAX_WAITING_BYTES.div_ceil(60_000 + 60));
        assert_eq!(in_order(&buffers.take()).1, kept as u64);
        assert_eq!(buffers.add(&long), LineFate::First);
    }
}
