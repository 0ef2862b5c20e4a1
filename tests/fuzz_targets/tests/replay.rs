//! Every input that is kept, through its target. One test a target: each has an engine of its own
//! that counts what is left behind.
#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use sgl_testkit::modules::{plugin, shipped};

/// Inputs of one target: chosen ones, and those that once found something.
fn inputs(target: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let files = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<PathBuf> =
        files(fuzz.join("seeds").join(target)).chain(files(fuzz.join("found").join(target))).collect();
    inputs.sort();
    inputs
}

#[expect(
    clippy::print_stdout,
    reason = "cargo shows it only if the test fails: the last line names the input"
)]
fn replay(target: &str, run: impl Fn(&[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() >= 10, "only {} inputs of {target} are kept", inputs.len());
    for input in inputs {
        println!("{}", input.display());
        run(&fs::read(input).unwrap());
    }
}

#[test]
fn kept_module_bytes_are_harmless() {
    replay("module_bytes", fuzz_targets::module_bytes);
}

/// Each shipped module as it is, cut off, and with bits that have flipped, at places all over it.
#[test]
fn shipped_modules_are_harmless_whole_and_damaged() {
    for name in shipped() {
        let whole = plugin(&name);
        fuzz_targets::module_bytes(&whole);
        for part in 1..8 {
            let at = whole.len() * part / 8;
            fuzz_targets::module_bytes(whole.get(..at).unwrap_or_default());
            let mut damaged = whole.clone();
            damaged.iter_mut().skip(at).step_by(997).for_each(|byte| *byte ^= 1 << part);
            fuzz_targets::module_bytes(&damaged);
        }
    }
}

#[test]
fn kept_structured_modules_are_harmless() {
    replay("structured_modules", fuzz_targets::structured_modules);
}

#[test]
fn kept_guest_answers_are_harmless() {
    replay("guest_answers", fuzz_targets::guest_answers);
}

#[test]
fn kept_admin_bodies_are_harmless() {
    replay("admin_bodies", fuzz_targets::admin_bodies);
}

#[test]
fn kept_config_files_are_harmless() {
    replay("config_files", fuzz_targets::config_files);
}

#[test]
fn kept_worker_answers_are_harmless() {
    replay("worker_answers", fuzz_targets::worker_answers);
}

#[test]
fn kept_request_bodies_are_harmless() {
    replay("request_bodies", fuzz_targets::request_bodies);
}
