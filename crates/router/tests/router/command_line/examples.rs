//! The examples of both routers' documents, with one word changed.

use std::collections::BTreeSet;

use sgl_router::cli::command_line;
use sgl_router::internals::configuration;
use tempfile::TempDir;

use crate::command_line::lines::parsed;
use crate::docs::pages;
use crate::tls::authority::{Authority, Issued};

const EXAMPLES: &str = "crates/router/tests/fixtures/other_routers/examples.txt";

/// Files of certificates and keys, in the place of those that examples name.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (authority, name) = (Authority::new("examples"), |name: &str| dir.path().join(name));
        std::fs::rename(authority.file(dir.path()), name("ca.crt")).unwrap();
        for program in ["server", "client"] {
            let Issued { certificate, key } = authority.issue();
            std::fs::write(name(&format!("{program}.crt")), certificate).unwrap();
            std::fs::write(name(&format!("{program}.key")), key).unwrap();
        }
        Self { dir }
    }

    fn in_place_of(&self, word: &str) -> String {
        match word.rsplit_once('/') {
            Some((_, name)) if name.ends_with(".crt") || name.ends_with(".key") => {
                self.dir.path().join(name).display().to_string()
            }
            _ => word.to_owned(),
        }
    }
}

/// What follows the word that a user changes: the program, or `python -m` and the module.
fn arguments(line: &str, files: &Files) -> Vec<String> {
    let words = words(line);
    let program = if words[0].starts_with("python") { 3 } else { 1 };
    words[program..].iter().map(|word| files.in_place_of(word)).collect()
}

/// Words as a shell has them: quotes hold them together. No example has a backslash.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars().chain([' ']) {
        match letter {
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            _ if quote == Some(letter) => quote = None,
            ' ' if quote.is_none() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(letter),
        }
    }
    assert!(quote.is_none(), "{line}");
    words
}

/// Whether this only prints the version.
fn prints(line: &str, files: &Files) -> bool {
    let arguments = ["sgl-router".to_owned()].into_iter().chain(arguments(line, files));
    let read = command_line::parse(arguments.map(Into::into));
    read.is_err_and(|error| error.kind() == clap::error::ErrorKind::DisplayVersion)
}

/// The flags and keys that a configuration is refused for.
fn refused(line: &str, files: &Files) -> BTreeSet<String> {
    let arguments = arguments(line, files);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let args = parsed(&arguments).unwrap_or_else(|error| panic!("{line}\n{error}"));
    let faults = configuration(&args).err().map(|faults| faults.0).unwrap_or_default();
    let key = |path: &str| path.split(' ').next().unwrap_or_default().to_owned();
    faults.iter().map(|fault| key(&fault.path)).collect()
}

#[test]
fn every_example_of_the_documents_runs_or_is_refused_for_what_is_listed() {
    let text = pages::read(EXAMPLES);
    let examples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (mut run, mut all, files) = (0, 0, Files::new());
    for example in examples {
        let (expected, line) = example.split_once(" | ").expect("what becomes of it, and the line");
        let mut words = expected.split_whitespace();
        let verdict = words.next();
        match verdict {
            Some("runs" | "refused") => {}
            Some("prints") => {
                assert!(prints(line, &files), "{example}");
                continue;
            }
            // tests/deploy/wheel.py runs these.
            Some("advises") => continue,
            _ => panic!("{example}"),
        }
        let expected: BTreeSet<String> = words.map(str::to_owned).collect();
        assert_eq!(verdict == Some("runs"), expected.is_empty(), "{example}");
        assert_eq!(refused(line, &files), expected, "{line}");
        (run, all) = (run + usize::from(expected.is_empty()), all + 1);
    }
    assert!(run > 15 && all > 45, "{run} of {all}");
}
