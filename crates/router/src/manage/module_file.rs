//! Modules that are named instead of sent: only files of the plugin directory.

use std::path::{Component, Path, PathBuf};

use crate::manage::error::ManageError;
use sglang_router_rs::policies::PluginError;

/// Where a module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// It was sent, with a detached signature if there is one.
    Bytes {
        /// The module.
        wasm: Vec<u8>,
        /// Its signature.
        signature: Option<Vec<u8>>,
    },
    /// The name of a file in the plugin directory.
    File(String),
}

/// The path of a file in the directory.
///
/// # Errors
///
/// [`ManageError::OutsidePluginDir`] if the name is more than a plain name, or a link leads out of
/// the directory; [`PluginError::Read`] if there is no such file.
pub(crate) fn within(dir: &Path, name: &str) -> Result<PathBuf, ManageError> {
    let outside = || ManageError::OutsidePluginDir { file: name.to_owned() };
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if !plain || name.contains(['/', '\\', '\0']) {
        return Err(outside());
    }
    let path = dir.join(name);
    let failed = |source| PluginError::Read { path: path.clone(), source };
    let (real, real_dir) = (path.canonicalize().map_err(failed)?, dir.canonicalize().map_err(failed)?);
    if real.starts_with(&real_dir) { Ok(path) } else { Err(outside()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_files_in_the_directory_are_found() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("plugins");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("a.wasm"), "a").unwrap();
        std::fs::write(root.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), dir.join("link.wasm")).unwrap();
        assert_eq!(within(&dir, "a.wasm").unwrap(), dir.join("a.wasm"));
        for name in ["../secret", "/etc/passwd", "..", ".", "", "x/../a.wasm", "link.wasm"] {
            let refused = within(&dir, name);
            assert!(matches!(refused, Err(ManageError::OutsidePluginDir { .. })), "{name}: {refused:?}");
        }
        let missing = within(&dir, "b.wasm");
        assert!(matches!(missing, Err(ManageError::Plugin(PluginError::Read { .. }))), "{missing:?}");
    }
}
