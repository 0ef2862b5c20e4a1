//! The modules that the languages' compilers have made.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use sgl_policy_abi::{MANIFEST_SECTION, Manifest};
use wasmparser::{Parser, Payload};

/// Languages with an SDK in `sdks/`.
const LANGUAGES: [&str; 4] = ["assemblyscript", "c", "go", "zig"];

/// The modules of one name: of each language whose compiler is here, with the language.
///
/// All of them are built first, if they are not there. Under continuous integration none may be missing.
#[expect(clippy::print_stderr, reason = "who runs the tests reads what is not tested")]
pub(crate) fn of_all_languages(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build);
    let mut modules = Vec::new();
    for language in LANGUAGES {
        match std::fs::read(path(language, name)) {
            Ok(module) => modules.push((language, module)),
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} in {language}: {error}");
                eprintln!("skipped: {name} in {language}, whose compiler is not here");
            }
        }
    }
    modules
}

fn path(language: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("dist/languages/{language}/{name}.wasm"))
}

fn build() {
    if LANGUAGES.iter().all(|language| path(language, "everything").exists()) {
        return;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/build_languages.sh");
    let output = Command::new(script).output().expect("the build script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/build_languages.sh failed:\n{said}");
}

/// What a module says about itself.
pub(crate) fn manifest(module: &[u8]) -> Manifest {
    let sections = Parser::new(0).parse_all(module).filter_map(|payload| match payload.unwrap() {
        Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => Some(section.data()),
        _ => None,
    });
    let [section] = sections.collect::<Vec<_>>()[..] else { panic!("not one manifest") };
    Manifest::decode(section).unwrap()
}
