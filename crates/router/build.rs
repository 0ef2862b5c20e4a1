//! Tells the program what it is made of: the commit and the version of wasmtime, for `--version`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What names the commit where there is no repository, as in a container's build.
const VARIABLE: &str = "SGL_ROUTER_COMMIT";

fn main() -> Result<(), String> {
    let package = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let root = Path::new(&package).join("../..");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let commit = match std::env::var(VARIABLE) {
        Ok(commit) if !commit.trim().is_empty() => commit.trim().to_owned(),
        _ if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") => {
            // Asking would have everything built anew after each commit, for programs that nobody installs.
            "unknown (a debug build does not ask)".to_owned()
        }
        _ => commit_of(&root).unwrap_or_else(|| format!("unknown (no git repository, and no {VARIABLE})")),
    };
    println!("cargo::rustc-env={VARIABLE}={commit}");
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let wasmtime = fs::read_to_string(&lock).ok().and_then(|lock| version_in(&lock, "wasmtime"));
    println!("cargo::rustc-env=SGL_ROUTER_WASMTIME={}", wasmtime.as_deref().unwrap_or("unknown"));
    Ok(())
}

/// The commit, with a mark if something that is tracked differs from it.
fn commit_of(root: &Path) -> Option<String> {
    // What is built changes with these; the mark would be old otherwise.
    for watched in ["HEAD", "index"] {
        let path = git(root, &["rev-parse", "--git-path", watched])?;
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    if let Some(branch) = git(root, &["symbolic-ref", "-q", "HEAD"]) {
        let path = git(root, &["rev-parse", "--git-path", &branch])?;
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    for sources in ["src", "crates", "plugins/abi", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(sources).display());
    }
    git(root, &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The version of a package in a lock file.
fn version_in(lock: &str, name: &str) -> Option<String> {
    let (_, package) = lock.split_once(&format!("name = \"{name}\"\n"))?;
    let version = package.lines().next()?.strip_prefix("version = \"")?;
    version.strip_suffix('"').map(str::to_owned)
}
