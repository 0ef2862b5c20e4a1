//! Running the commands, and their files.

use serde_json::Value;
use sgl_testkit::modules;
use sgl_testkit::process::{command, output, stderr, stdout};

/// A folder of files.
pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Writes a file; gives its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// The path of a plugin of `plugins/`, built.
pub(crate) fn shipped(name: &str) -> String {
    // Built if it is not there.
    modules::plugin(name);
    format!("{}/../../dist/plugins/{name}.wasm", env!("CARGO_MANIFEST_DIR"))
}

/// Runs `sgl-router plugin`; gives exit code, standard output and standard error.
pub(crate) async fn plugin(arguments: &[&str]) -> (i32, String, String) {
    let output = output(command(&[&["plugin"], arguments].concat())).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

/// The same with `--json`; gives the exit code and what was printed.
pub(crate) async fn plugin_json(arguments: &[&str]) -> (i32, Value) {
    let (code, out, error) = plugin(&[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|fault| panic!("{fault}: {out} {error}")))
}
