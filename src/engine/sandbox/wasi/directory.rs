//! What a guest sees as `/tmp`.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::engine::error::EngineError;
use crate::engine::sandbox::tmp_limits::TmpLimits;
use crate::engine::sandbox::wasi::tmp_quota::Ledger;

/// A plugin's own directory, under the system's temp directory, with mode 0700 and an unguessable name.
/// It is removed with all its content when the plugin's last generation goes.
#[derive(Debug)]
pub struct PrivateDirectory {
    directory: TempDir,
    ledger: Arc<Ledger>,
}

impl PrivateDirectory {
    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// [`EngineError::Directory`] if the system refuses.
    pub fn new() -> Result<Self, EngineError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("sgl-plugin-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let directory = builder.tempdir().map_err(EngineError::Directory)?;
        Ok(Self { directory, ledger: Arc::default() })
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is in it.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

/// The private directory as one guest sees it.
#[derive(Debug)]
pub(crate) struct Tmp {
    pub(crate) directory: Arc<PrivateDirectory>,
    pub(crate) limits: TmpLimits,
}
