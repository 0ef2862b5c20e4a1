//! Embeds the modules of dist/plugins, which scripts/build_wasm_plugins.sh makes. Here they cannot be made:
//! the compiler may lack the target, and cargo within cargo waits for itself.
//!
//! `SGL_ROUTER_EMBED` says what is to be: unset or `auto`, those that are there, with a warning if some
//! are missing; `all`, a plugin without a module is an error; `none`, none.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const VARIABLE: &str = "SGL_ROUTER_EMBED";
const ADVICE: &str = "run scripts/build_wasm_plugins.sh build first";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let wanted = std::env::var(VARIABLE).unwrap_or_else(|_| "auto".to_owned());
    // Now and not when this was built: who has a copy of that builds from a copy of the sources.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?;
    let root = Path::new(&package).join("../..");
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let modules = match wanted.as_str() {
        "auto" | "all" => modules(&root, wanted == "all")?,
        "none" => Vec::new(),
        other => return Err(format!("{VARIABLE}: found {other:?}; allowed: auto, all, none")),
    };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut text = "&[\n".to_owned();
    for (name, path) in modules {
        let wasm = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // A copy: what the compiler reads is what was digested, whatever is built meanwhile.
        let copy = out.join(format!("{name}.wasm"));
        fs::write(&copy, &wasm).map_err(|error| format!("{}: {error}", copy.display()))?;
        let digest: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        let (page, bytes) = (page(&root, &name), format!("include_bytes!({copy:?})"));
        let fields = format!("name: {name:?}, digest: {digest:?}, page: {page:?}, wasm: {bytes}");
        writeln!(text, "EmbeddedModule {{ {fields} }},").map_err(|error| error.to_string())?;
    }
    text.push_str("]\n");
    fs::write(out.join("modules.rs"), text).map_err(|error| error.to_string())
}

/// The modules of all plugins, sorted by name.
fn modules(root: &Path, all: bool) -> Result<Vec<(String, PathBuf)>, String> {
    let (plugins, built) = (root.join("plugins"), root.join("dist/plugins"));
    // Cargo runs this at each build as long as a file that it is to watch is missing; where the folder
    // cannot be made, that is so.
    let _ = fs::create_dir_all(&built);
    // Not the sources: what is not built yet changes nothing here.
    println!("cargo::rerun-if-changed={}", built.display());
    let mut names = names_of_plugins(&plugins)?;
    names.sort();
    let path = |name: &String| built.join(format!("{name}.wasm"));
    let (there, missing): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| path(name).is_file());
    if !missing.is_empty() {
        let which = if there.is_empty() { "all policies".to_owned() } else { missing.join(", ") };
        let fault = format!("dist/plugins lacks the modules of {which}; {ADVICE}");
        if all {
            return Err(fault);
        }
        println!("cargo::warning=not embedded: {fault}");
    }
    Ok(there.into_iter().map(|name| (name.clone(), path(&name))).collect())
}

/// The page that tells of a policy.
fn page(root: &Path, name: &str) -> String {
    let page = format!("docs/policies/{name}.md");
    if root.join(&page).is_file() { page } else { format!("plugins/{name}/README.md") }
}

/// The folders whose crates make a module.
fn names_of_plugins(plugins: &Path) -> Result<Vec<String>, String> {
    let fault = |error| format!("{}: {error}", plugins.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(plugins).map_err(fault)? {
        let folder = entry.map_err(fault)?.path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        if let (true, Some(name)) = (manifest.contains("cdylib"), folder.file_name()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
