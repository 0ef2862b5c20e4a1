//! The policy that an operator chose, on disk, so that a restart comes back with it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manage::durable_file;
use sglang_router_rs::types::file;

const FILE: &str = "policy.json";

/// Most bytes that are read.
const MAX_BYTES: u64 = 1 << 16;

/// What an operator chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChosenPolicy {
    /// The policy.
    pub(crate) policy: String,
    /// What the configuration named then: if it names another one since, that is the newer wish.
    pub(crate) configured: String,
}

/// The file of a state directory that says it: whole, the one before, or not there.
#[derive(Clone, Debug)]
pub(crate) struct KeptPolicy(PathBuf);

impl KeptPolicy {
    /// That of this directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.to_owned())
    }

    /// What was chosen before.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is none of these.
    pub(crate) fn read(&self) -> io::Result<Option<ChosenPolicy>> {
        match file::read_if_there(&self.0.join(FILE), MAX_BYTES)? {
            Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            None => Ok(None),
        }
    }

    /// Keeps what is chosen now; `None` if it is what the configuration names.
    ///
    /// # Errors
    ///
    /// If it cannot be written; what was kept before is then.
    pub(crate) fn write(&self, chosen: Option<&ChosenPolicy>) -> io::Result<()> {
        match chosen {
            Some(chosen) => durable_file::keep(&self.0.join(FILE), &serde_json::to_vec_pretty(chosen)?),
            None => match std::fs::remove_file(self.0.join(FILE)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => std::fs::File::open(&self.0)?.sync_all(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_is_there_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptPolicy::new(dir.path());
        assert_eq!(kept.read().unwrap(), None);
        kept.write(None).unwrap();
        for policy in ["a", "b"] {
            let chosen = ChosenPolicy { policy: policy.to_owned(), configured: "c".to_owned() };
            kept.write(Some(&chosen)).unwrap();
            assert_eq!(kept.read().unwrap(), Some(chosen));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the file");
        kept.write(None).unwrap();
        assert_eq!(kept.read().unwrap(), None);
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(kept.read().is_err());
    }
}
