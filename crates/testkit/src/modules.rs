//! The built plugins.

use std::path::PathBuf;
use std::process::Command;

use parking_lot::Mutex;

use crate::repository;

/// One build at a time, for the tests of this process run in parallel.
static BUILDING: Mutex<()> = Mutex::new(());

/// The bytes of a plugin of `plugins/`.
pub fn plugin(name: &str) -> Vec<u8> {
    module(&format!("dist/plugins/{name}.wasm"))
}

/// The names of all plugins of `plugins/`, sorted: the folders whose crates make a module.
pub fn shipped() -> Vec<String> {
    let folders = std::fs::read_dir(repository::path("plugins")).expect("the folder of the plugins");
    let is_guest = |folder: &PathBuf| {
        std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("cdylib"))
    };
    let folders = folders.map(|entry| entry.expect("a folder").path()).filter(is_guest);
    let name = |folder: PathBuf| folder.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let mut names: Vec<String> = folders.map(name).collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names
}

/// The bytes of a plugin of `tests/fixtures/plugins/`.
pub fn fixture(name: &str) -> Vec<u8> {
    module(&format!("dist/fixtures/{name}.wasm"))
}

/// The bytes of a module of `tests/fixtures/old_modules/`, which an earlier SDK made.
pub fn old_module(name: &str) -> Vec<u8> {
    let path = repository::path(format!("tests/fixtures/old_modules/{name}.wasm"));
    std::fs::read(path).expect("a module of the repository")
}

/// Reads a module; builds all of them first if it is not there.
fn module(path: &str) -> Vec<u8> {
    let path: PathBuf = repository::path(path);
    let building = BUILDING.lock();
    if !path.exists() {
        build();
    }
    drop(building);
    std::fs::read(path).expect("the script has built it")
}

fn build() {
    let mut script = Command::new(repository::path("scripts/build_wasm_plugins.sh"));
    let output =
        script.arg("build").current_dir(repository::path("")).output().expect("the build script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/build_wasm_plugins.sh build failed:\n{said}");
}
