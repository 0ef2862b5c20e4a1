//! Notices that a file has changed.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::manage::file_stamp::FileStamp;

/// How often it is looked at. Watches of the system miss files that are mounted or linked from elsewhere, as
/// secrets of Kubernetes are.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Has `changed` run on a thread that serves nobody each time that the file has changed and was the same for
/// one look, until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn follow(
    file: &Path,
    stop: CancellationToken,
    changed: impl Fn() + Clone + Send + 'static,
) {
    let mut looks = FileLooks::of_read(FileStamp::of(file));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        if looks.is_to_be_read(FileStamp::of(file)) {
            // It panics for nothing that a file may hold.
            let _ = tokio::task::spawn_blocking(changed.clone()).await;
        }
    }
}

/// What was seen of the file.
#[derive(Debug)]
struct FileLooks {
    read: Option<FileStamp>,
    before: Option<FileStamp>,
}

impl FileLooks {
    /// The file was read when it was like this.
    fn of_read(read: Option<FileStamp>) -> Self {
        Self { read, before: read }
    }

    /// True if it is another than the one that was read, and was seen so twice: one that changes is being written,
    /// and one that is gone for a moment is about to be replaced.
    fn is_to_be_read(&mut self, now: Option<FileStamp>) -> bool {
        let is_whole = now.is_some() && std::mem::replace(&mut self.before, now) == now;
        if now == self.read || !is_whole {
            return false;
        }
        self.read = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_being_written_is_read_once_it_was_seen_twice_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let stamp = |text: &str| {
            std::fs::write(&path, text).unwrap();
            FileStamp::of(&path)
        };
        let first = stamp("keys = []");
        let mut looks = FileLooks::of_read(first);
        assert!(!looks.is_to_be_read(first), "it is known");
        assert!(!looks.is_to_be_read(stamp("")), "whoever writes in place empties it first");
        assert!(!looks.is_to_be_read(stamp("[[keys]]\nname")), "more of it was written");
        let whole = stamp("[[keys]]\nname = \"a\"");
        assert_eq!([whole, whole, whole].map(|now| looks.is_to_be_read(now)), [false, true, false]);
        assert_eq!(
            [None, None, whole].map(|now| looks.is_to_be_read(now)),
            [false; 3],
            "it was away, and is the same"
        );
        let other = stamp("keys = [] # another");
        assert_eq!([None, other, other].map(|now| looks.is_to_be_read(now)), [false, false, true]);
    }
}
