//! The built plugins.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use parking_lot::Mutex;

/// One build at a time, for the tests of this process run in parallel.
static BUILDING: Mutex<()> = Mutex::new(());

/// The bytes of a plugin of `plugins/`.
pub(crate) fn plugin(name: &str) -> Vec<u8> {
    module(&format!("dist/plugins/{name}.wasm"))
}

/// The bytes of a plugin of `tests/fixtures/plugins/`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    module(&format!("dist/fixtures/{name}.wasm"))
}

/// Reads a module; builds all of them first if it is not there.
fn module(path: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let building = BUILDING.lock();
    if !path.exists() {
        build();
    }
    drop(building);
    std::fs::read(path).expect("the script has built it")
}

fn build() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut script = Command::new(Path::new(root).join("scripts/build_wasm_plugins.sh"));
    let output = script.arg("build").current_dir(root).output().expect("the build script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/build_wasm_plugins.sh build failed:\n{said}");
}
