//! The code of the documents is code that is compiled, and their configurations are read.

use sgl_router::config::{Surroundings, check, read_config};
use sglang_router_rs::policies::NativePolicy;

use crate::docs::pages;

/// Lines without their indentation, empty ones left out: documents indent code as they need.
fn lines(code: &str) -> Vec<&str> {
    code.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Everything that is compiled and that documents quote.
fn compiled() -> Vec<String> {
    let folders = ["examples", "plugins", "tests/fixtures/plugins"];
    folders.iter().flat_map(|folder| pages::files(folder, ".rs")).map(pages::read).collect()
}

#[test]
fn rust_code_of_every_document_is_part_of_a_compiled_file() {
    let sources = compiled();
    let sources: Vec<Vec<&str>> = sources.iter().map(|source| lines(source)).collect();
    let mut found = 0;
    for document in pages::documents() {
        let page = pages::read(&document);
        for (_, code) in pages::blocks(&page).iter().filter(|(info, _)| info == "rust") {
            let wanted = lines(code);
            let is_there = |source: &Vec<&str>| source.windows(wanted.len()).any(|part| *part == wanted[..]);
            assert!(sources.iter().any(is_there), "{}: nobody compiles\n{code}", document.display());
            found += 1;
        }
    }
    assert!(found >= 15, "only {found} blocks of Rust were found");
}

#[test]
fn code_in_other_languages_is_part_of_an_example() {
    let mut found = 0;
    for (language, ending) in [("c", ".c"), ("go", ".go"), ("ts", ".ts"), ("zig", ".zig")] {
        let sources: Vec<String> = pages::files("sdks", ending).iter().map(pages::read).collect();
        let sources: Vec<Vec<&str>> = sources.iter().map(|source| lines(source)).collect();
        for document in pages::files("docs/languages", ".md") {
            let page = pages::read(&document);
            for (_, code) in pages::blocks(&page).iter().filter(|(info, _)| info == language) {
                let wanted = lines(code);
                let is_there =
                    |source: &Vec<&str>| source.windows(wanted.len()).any(|part| *part == wanted[..]);
                assert!(sources.iter().any(is_there), "{}: nobody compiles\n{code}", document.display());
                found += 1;
            }
        }
    }
    assert!(found >= 12, "only {found} blocks were found");
}

#[test]
fn embedding_example_is_the_same_in_readme_crate_docs_and_file() {
    let file = pages::read("examples/embed.rs");
    let start = file.find("use sglang").expect("its first use");
    let end = file.find("#[cfg(test)]").expect("its test");
    let code = file[start..end].trim_end().to_owned() + "\n";
    let shows = |page: &str, info: &str| pages::blocks(page).contains(&(info.to_owned(), code.clone()));
    assert!(shows(&pages::read("README.md"), "rust"), "README.md does not show it as it is");
    let library = pages::read("src/lib.rs");
    let docs: Vec<&str> = library.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let docs: String =
        docs.iter().map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect();
    assert!(shows(&docs, "no_run"), "src/lib.rs does not show it as it is");
}

#[test]
fn files_that_documents_quote_whole_are_quoted_as_they_are() {
    let quotes = [
        ("docs/wasm_plugins.md", "toml", "tests/fixtures/plugins/first_readme/Cargo.toml"),
        ("docs/wasm_plugins.md", "c", "docs/first_policy.c"),
    ];
    for (document, language, file) in quotes {
        let (text, blocks) = (pages::read(file), pages::blocks(&pages::read(document)));
        let is_it = |(info, code): &(String, String)| info == language && *code == text;
        assert!(blocks.iter().any(is_it), "{document} does not quote {file} as it is");
    }
}

#[test]
fn configurations_of_documents_have_no_faults() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut found = 0;
    for document in pages::documents() {
        let page = pages::read(&document);
        let blocks = pages::blocks(&page);
        for (_, text) in
            blocks.iter().filter(|(info, text)| info == "toml" && text.starts_with("# router.toml"))
        {
            let file = folder.path().join("router.toml");
            std::fs::write(&file, text).expect("a file");
            let (config, faults) = read_config(&file);
            let built_in_policies = &NativePolicy::NAMES;
            let checked =
                check(config, Surroundings { built_in_policies, faults, ..Surroundings::default() });
            assert!(checked.is_ok(), "{}: {:?}", document.display(), checked.err());
            found += 1;
        }
    }
    assert!(found >= 2, "only {found} configurations were found");
}
