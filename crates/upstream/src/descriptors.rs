//! Descriptors, ports and buffers: what the system may refuse for want of something of this process
//! or machine. A worker cannot help it.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that clients do not get at most: for files, operators, metrics, and what else runs.
const MAX_RESERVED: u64 = 256;

/// Descriptors that looking up a name takes at most: its files, and a socket for each server of names.
const LOOKUP_DESCRIPTORS: usize = 8;

/// Time in which look-ups that fail are put down to the want of descriptors that was seen last.
const SHORTAGE_LASTS: Duration = Duration::from_secs(1);

/// Assumed where there is no limit: more connections than a machine has memory for.
const ASSUMED_DESCRIPTORS: u64 = 1 << 20;

/// True if it is our own.
pub(crate) fn is_own_shortage(error: &io::Error) -> bool {
    is_want_of_descriptors(error) || is_any(error, &[Errno::ADDRNOTAVAIL])
}

/// True if there is no descriptor or buffer left, whatever the address.
pub(crate) fn is_want_of_descriptors(error: &io::Error) -> bool {
    is_any(error, &[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM])
}

fn is_any(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| errnos.iter().any(|errno| errno.raw_os_error() == code))
}

/// True if this process or this machine has next to no descriptor left, or had a moment ago: fewer than looking
/// up a name takes. Looks by taking some. Those that were missing may be free again by the time that a failure
/// is told.
pub(crate) fn is_short_of_descriptors() -> bool {
    static LAST_SEEN: Mutex<Option<Instant>> = Mutex::new(None);
    let taken: io::Result<Vec<File>> = (0..LOOKUP_DESCRIPTORS).map(|_| File::open("/dev/null")).collect();
    let is_short = taken.is_err_and(|error| is_own_shortage(&error));
    let mut last = LAST_SEEN.lock();
    if is_short {
        *last = Some(Instant::now());
    }
    last.is_some_and(|last| last.elapsed() < SHORTAGE_LASTS)
}

/// Raises the number of descriptors that this process may have to what the system lets it have. Many
/// systems begin with 1024 and allow a million.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(from = current, to = maximum, "raised the limit of descriptors"),
        Err(error) => tracing::warn!(%error, current, "cannot raise the limit of descriptors"),
    }
}

/// Connections of clients that there are descriptors for: after a reserve (256, or a quarter if that is
/// less), half of them, since every request may need a connection to a worker too.
pub fn connections_that_fit() -> usize {
    connections_of(getrlimit(Resource::Nofile).current.unwrap_or(ASSUMED_DESCRIPTORS))
}

fn connections_of(descriptors: u64) -> usize {
    let descriptors = descriptors.min(ASSUMED_DESCRIPTORS);
    let reserved = (descriptors / 4).min(MAX_RESERVED);
    usize::try_from((descriptors - reserved) / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_of_descriptors_is_our_own_and_a_refusal_is_not() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM] {
            assert!(is_own_shortage(&errno.into()), "{errno}");
        }
        assert!(!is_own_shortage(&Errno::CONNREFUSED.into()));
        assert!(!is_own_shortage(&io::Error::other("no code")));
    }

    #[test]
    fn clients_get_half_of_what_is_left_of_the_descriptors() {
        for (descriptors, expected) in
            [(0, 1), (256, 96), (1024, 384), (1 << 20, 524_160), (u64::MAX, 524_160)]
        {
            assert_eq!(connections_of(descriptors), expected, "{descriptors}");
        }
    }
}
