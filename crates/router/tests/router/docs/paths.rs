//! Files that documents name are there.

use std::path::PathBuf;

use crate::docs::pages;

/// Where sources are.
const ROOTS: [&str; 8] =
    ["src", "crates", "plugins", "tests", "benches", "examples", "fuzz/fuzz_targets", "docs"];

/// The names of files between backticks in a document's prose.
fn named(page: &str) -> Vec<String> {
    let prose = pages::prose(page);
    let quoted = prose.split('`').skip(1).step_by(2);
    let is_file = |text: &&str| text.ends_with(".rs") && !text.contains(|c: char| " …*{".contains(c));
    quoted.filter(is_file).map(str::to_owned).collect()
}

/// All sources, from the top of the repository.
fn sources() -> Vec<PathBuf> {
    let of = |folder: &&str| pages::files(folder, ".rs");
    let within =
        |path: PathBuf| path.strip_prefix(pages::root()).expect("a file of the repository").to_owned();
    ROOTS.iter().flat_map(of).map(within).collect()
}

/// True if this is a source, or the end of the path of one.
fn is_there(sources: &[PathBuf], name: &str) -> bool {
    sources.iter().any(|source| source.ends_with(name))
}

#[test]
fn sources_that_documents_name_are_there() {
    let sources = sources();
    let mut checked = 0;
    let mut missing = Vec::new();
    for document in pages::documents() {
        let names = named(&pages::read(&document));
        checked += names.len();
        let gone = names.into_iter().filter(|name| !is_there(&sources, name));
        missing.extend(gone.map(|name| format!("{}: {name}", document.display())));
    }
    assert!(missing.is_empty(), "no such file:\n{}", missing.join("\n"));
    assert!(checked > 60, "only {checked} names were found");
}

#[test]
fn source_that_is_not_there_is_found() {
    let sources = sources();
    assert!(is_there(&sources, "src/config/plugin.rs") && is_there(&sources, "engine/deadline.rs"));
    assert!(!is_there(&sources, "engine/nothing.rs") && !is_there(&sources, "ugin.rs"));
    assert_eq!(named("see `a/b.rs` and `cargo run x.rs`\n"), ["a/b.rs"]);
}
