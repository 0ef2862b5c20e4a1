//! Modules that are named instead of sent: files of the plugin directory, and no others.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::manage::error::ManageError;
use crate::policies::PluginError;
use crate::policies::wasm::loader::MAX_MODULE_BYTES;

/// The path of a file in the directory.
///
/// # Errors
///
/// [`ManageError::OutsidePluginDir`] if the name is more than a plain name, or a link leads out of
/// the directory; [`PluginError::Read`] if there is no such file.
pub fn within(dir: &Path, name: &str) -> Result<PathBuf, ManageError> {
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

/// The bytes of a module.
///
/// # Errors
///
/// [`PluginError::Read`] or [`PluginError::TooLarge`].
pub fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    let failed = |source| PluginError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let size = usize::try_from(facts.len()).unwrap_or(usize::MAX);
    let limit = MAX_MODULE_BYTES;
    let mut bytes = Vec::with_capacity(size.min(limit));
    // It may grow while it is read.
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(PluginError::TooLarge { bytes: size.max(bytes.len()), limit });
    }
    Ok(bytes)
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
