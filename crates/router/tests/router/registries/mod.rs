//! Modules in registries, with Debian's own `docker-registry`: published, pulled, named where a file could
//! be named, signed, and changed on its disk.

mod docker_registry;
mod false_registry;
mod token_server;

mod authentication;
mod limits;
mod publication;
mod routers;
mod signatures;
mod tampering;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sgl_testkit::process::{FREE_PORTS, binary, command, output, stderr, stdout};

/// Runs `plugin` with these variables; gives exit code, standard output and standard error.
async fn plugin_with(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&["plugin"]);
    // Whose files of credentials there are on this machine must not matter.
    for variable in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "HOME"] {
        command.env_remove(variable);
    }
    command.envs(variables.iter().copied()).args(arguments);
    let output = output(command).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

async fn plugin(arguments: &[&str]) -> (i32, String, String) {
    plugin_with(&[], arguments).await
}

/// Runs `plugin --json`, which must succeed.
async fn done(arguments: &[&str]) -> Value {
    let (code, out, error) = plugin(&[arguments, &["--json"]].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {error}");
    serde_json::from_str(&out).expect("JSON")
}

/// What a command that fails says, its code in its JSON included.
async fn refused(arguments: &[&str], code: i32) -> String {
    let (found, out, error) = plugin(&[arguments, &["--json"]].concat()).await;
    assert_eq!(found, code, "{arguments:?}: {out} {error}");
    let problem: Value = serde_json::from_str(&out).expect("JSON");
    assert!(error.contains(problem["code"].as_str().expect("a code")), "{error}");
    error
}

/// Starts a router that is to be refused; gives what it says. One that serves all the same is ended.
async fn start_refused(arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg("30").arg(binary()).arg("serve").args(FREE_PORTS);
    command.args(arguments);
    let ended = output(command).await;
    assert!(!ended.status.success(), "{}", stderr(&ended));
    stderr(&ended)
}

/// A module in a file.
fn module(dir: &Path, name: &str, wasm: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, wasm).expect("a file");
    text(&path)
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
