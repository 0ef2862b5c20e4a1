//! Every way to take space in the private directory, and what is given back.

use sgl_testkit::guest::GuestText;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::policies::{FailureCause, PluginOptions, WasmPolicyConfig};

use crate::files::{CREATE, Texts, must, must_not, open};
use crate::guest::wasi;
use crate::stage::{BAD, GOOD, Hostile, Stage, allowing, options};

const FUNCTIONS: [(&str, &str); 13] = [
    ("fd_allocate", "i32 i64 i64"),
    ("fd_close", "i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_filestat_set_size", "i32 i64"),
    ("fd_pwrite", "i32 i32 i32 i64 i32"),
    ("fd_renumber", "i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
];

/// `fd_seek` has another shape: it takes the place as 64 bits.
const SEEK: &str =
    r#"(import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))"#;

pub(crate) const MAX_BYTES: u64 = 65_536;
const MAX_FILES: u64 = 8;
const EXCLUSIVE: u32 = 4;
const APPEND: u32 = 1;

/// The error number that a guest gets.
const FULL: u32 = 19;

fn full(call: &str) -> String {
    format!("(if (i32.ne {call} (i32.const {FULL})) (then unreachable))")
}

/// Opens and keeps the descriptor in this local.
pub(crate) fn opened(path: &str, flags: u32, into: &str) -> String {
    format!("{} (local.set {into} (i32.load (i32.const 2048)))", must(&open(path, flags)))
}

/// Writes so many bytes from the start of memory where the descriptor is.
pub(crate) fn write(fd: &str, bytes: u64) -> String {
    format!(
        "(block (result i32) {} (call $fd_write (local.get {fd}) {VECTORS} (i32.const 2080)))",
        vector(bytes)
    )
}

fn pwrite(fd: &str, bytes: u64, at: u64) -> String {
    format!(
        "(block (result i32) {} (call $fd_pwrite (local.get {fd}) {VECTORS} (i64.const {at}) (i32.const 2080)))",
        vector(bytes)
    )
}

/// One vector at 2064.
const VECTORS: &str = "(i32.const 2064) (i32.const 1)";

fn vector(bytes: u64) -> String {
    format!("(i32.store (i32.const 2064) (i32.const 0)) (i32.store (i32.const 2068) (i32.const {bytes}))")
}

fn seek(fd: &str, to: u64) -> String {
    format!("(call $fd_seek (local.get {fd}) (i64.const {to}) (i32.const 0) (i32.const 2080))")
}

fn set_size(fd: &str, size: u64) -> String {
    format!("(call $fd_filestat_set_size (local.get {fd}) (i64.const {size}))")
}

pub(crate) fn close(fd: &str) -> String {
    must(&format!("(call $fd_close (local.get {fd}))"))
}

fn unlink(path: &str) -> String {
    format!("(call $path_unlink_file (i32.const 3) {path})")
}

fn make_directory(path: &str) -> String {
    format!("(call $path_create_directory (i32.const 3) {path})")
}

fn rename(from: &str, to: &str) -> String {
    format!("(call $path_rename (i32.const 3) {from} (i32.const 3) {to})")
}

fn link(from: &str, to: &str) -> String {
    format!("(call $path_link (i32.const 3) (i32.const 0) {from} (i32.const 3) {to})")
}

fn symlink(to: &str, path: &str) -> String {
    format!("(call $path_symlink {to} (i32.const 3) {path})")
}

pub(crate) fn quota() -> PluginOptions {
    PluginOptions { max_tmp_bytes: MAX_BYTES, max_tmp_files: MAX_FILES, ..options() }
}

pub(crate) fn config() -> WasmPolicyConfig {
    let mut config = allowing(&FUNCTIONS);
    config.allowed_syscalls.push("fd_seek".to_owned());
    WasmPolicyConfig { max_execution_time_ms: 20_000, ..config }
}

pub(crate) fn wasm(texts: &Texts, bad: &str) -> Vec<u8> {
    let imports = format!("{}{SEEK}{HOST}", wasi(&FUNCTIONS));
    GuestText { imports: &imports, fields: &texts.data(), bad, ..GuestText::default() }.wasm()
}

pub(crate) async fn load(stage: &Stage, options: PluginOptions, texts: &Texts, bad: &str) -> Hostile {
    stage.load_with(config(), options, wasm(texts, bad)).await
}

/// The case of a guest that traps unless all goes as it expects, and answers 1 then.
async fn held(texts: &Texts, bad: &str) {
    let stage = Stage::new().await;
    let bad = format!("{bad} (return {})", answer(17, 1));
    let hostile = load(&stage, quota(), texts, &bad).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    assert!(hostile.stats().tmp_refusals > 0, "the operator sees it");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn writes_one_after_the_other_end_at_the_quota() {
    let texts = Texts::new(&["f"]);
    let bad = [
        opened(&texts.at(0), CREATE, "$i"),
        must(&write("$i", 60_000)),
        full(&write("$i", 10_000)),
        must(&write("$i", 5536)),
        full(&write("$i", 1)),
        // What is there may be written again.
        must(&seek("$i", 0)),
        must(&write("$i", MAX_BYTES)),
        must(&pwrite("$i", 10, 100)),
        full(&pwrite("$i", 1, MAX_BYTES)),
    ];
    held(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn vectors_count_together() {
    let texts = Texts::new(&["f"]);
    let two = format!(
        "(block (result i32) {} (i32.store (i32.const 2072) (i32.const 0))
           (i32.store (i32.const 2076) (i32.const 65536))
           (call $fd_write (local.get $i) (i32.const 2064) (i32.const 2) (i32.const 2080)))",
        vector(1)
    );
    held(&texts, &format!("{}{}", opened(&texts.at(0), CREATE, "$i"), full(&two))).await;
}

#[tokio::test]
async fn holes_count_as_if_they_were_written() {
    let texts = Texts::new(&["f"]);
    let bad = [
        opened(&texts.at(0), CREATE, "$i"),
        full(&pwrite("$i", 1, 1 << 40)),
        full(&pwrite("$i", 1, u64::MAX >> 1)),
        must(&seek("$i", 1 << 40)),
        full(&write("$i", 1)),
        full(&set_size("$i", MAX_BYTES + 1)),
        full(&set_size("$i", 1 << 62)),
        must_not(&format!("(call $fd_allocate (local.get $i) (i64.const 0) (i64.const {}))", 1 << 30)),
        must(&pwrite("$i", 1, MAX_BYTES - 1)),
        full(&set_size("$i", MAX_BYTES + 1)),
        full(&pwrite("$i", 1, MAX_BYTES)),
        // Cut, it gives all of it back.
        must(&set_size("$i", 0)),
        must(&set_size("$i", MAX_BYTES)),
    ];
    held(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn descriptors_of_one_file_that_append_count_by_its_end() {
    let texts = Texts::new(&["f"]);
    let append = |path: String, flags: u32| {
        let call = open(&path, flags);
        call.replace("(i32.const 0) (i32.const 2048)", &format!("(i32.const {APPEND}) (i32.const 2048)"))
    };
    let bad = [
        must(&append(texts.at(0), CREATE)),
        "(local.set $i (i32.load (i32.const 2048)))".to_owned(),
        must(&append(texts.at(0), 0)),
        "(local.set $j (i32.load (i32.const 2048)))".to_owned(),
        must(&write("$i", 32_768)),
        // It stands at the start of the file still.
        must(&write("$j", 32_768)),
        full(&write("$i", 1)),
        full(&write("$j", 1)),
        full(&pwrite("$j", 1, 0)),
        close("$j"),
        opened(&texts.at(0), 0, "$j"),
        must(&write("$j", 1)),
        must(&format!("(call $fd_fdstat_set_flags (local.get $j) (i32.const {APPEND}))")),
        full(&write("$j", 1)),
        // Under another number it is the same.
        must("(call $fd_renumber (local.get $j) (local.get $i))"),
        full(&write("$i", 1)),
    ];
    held(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn files_directories_and_links_count_alike() {
    let texts = Texts::new(&["f", "d", "d/d", "l", "d/l", "s", "nowhere", "g", "h", "more", "d/d/moved"]);
    let mut bad = [
        must(&open(&texts.at(0), CREATE)),
        must(&make_directory(&texts.at(1))),
        must(&make_directory(&texts.at(2))),
        must(&link(&texts.at(0), &texts.at(3))),
        must(&link(&texts.at(0), &texts.at(4))),
        must(&symlink(&texts.at(6), &texts.at(5))),
        must(&open(&texts.at(7), CREATE)),
        must(&open(&texts.at(8), CREATE)),
    ]
    .concat();
    let fifth = [
        full(&open(&texts.at(9), CREATE)),
        full(&open(&texts.at(9), CREATE | EXCLUSIVE)),
        full(&make_directory(&texts.at(9))),
        full(&link(&texts.at(0), &texts.at(9))),
        full(&symlink(&texts.at(6), &texts.at(9))),
        // A link that leads to no file would make one.
        full(&open(&texts.at(5), CREATE)),
    ]
    .concat();
    bad.push_str(&fifth);
    bad.push_str(&must(&open(&texts.at(0), CREATE)));
    bad.push_str(&must(&rename(&texts.at(7), &texts.at(10))));
    bad.push_str(&fifth);
    bad.push_str(&must(&unlink(&texts.at(5))));
    bad.push_str(&must(&make_directory(&texts.at(9))));
    held(&texts, &bad).await;
}

#[tokio::test]
async fn long_targets_of_links_are_bytes() {
    let target = "t".repeat(150);
    let texts = Texts::new(&[&target, "f", "s"]);
    let bad = [
        opened(&texts.at(1), CREATE, "$i"),
        must(&write("$i", MAX_BYTES - 149)),
        full(&symlink(&texts.at(0), &texts.at(2))),
    ];
    held(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn files_without_a_name_count_until_they_are_closed() {
    let texts = Texts::new(&["f", "g", "h"]);
    let bad = [
        opened(&texts.at(0), CREATE, "$i"),
        must(&write("$i", MAX_BYTES / 2)),
        must(&unlink(&texts.at(0))),
        // Another is moved over the name of the next.
        opened(&texts.at(0), CREATE, "$j"),
        must(&write("$j", MAX_BYTES / 2)),
        must(&open(&texts.at(1), CREATE)),
        must(&rename(&texts.at(1), &texts.at(0))),
        close("$j"),
        opened(&texts.at(0), 0, "$j"),
        must(&write("$j", MAX_BYTES / 2)),
        full(&write("$j", 1)),
        full(&write("$i", 1)),
        close("$i"),
        must(&write("$j", MAX_BYTES / 2)),
        full(&write("$j", 1)),
    ];
    held(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn what_an_instance_had_open_is_given_back_when_it_goes() {
    // Fills the quota with a file without a name, and traps. The next finds room again.
    let texts = Texts::new(&["f"]);
    let bad = [
        opened(&texts.at(0), CREATE, "$i"),
        must(&write("$i", MAX_BYTES)),
        full(&write("$i", 1)),
        must(&unlink(&texts.at(0))),
        "unreachable".to_owned(),
    ];
    let stage = Stage::new().await;
    let one = PluginOptions { max_instances: 1, ..quota() };
    let hostile = load(&stage, one, &texts, &bad.concat()).await;
    for round in 1..=5 {
        hostile.ready().await;
        stage.decide(&hostile, BAD).await;
        assert_eq!((hostile.failures(FailureCause::Trap), hostile.stats().tmp_refusals), (round, round));
    }
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn plugin_without_a_quota_makes_nothing() {
    let texts = Texts::new(&["f", "d"]);
    let bad = [full(&open(&texts.at(0), CREATE)), full(&make_directory(&texts.at(1)))].concat();
    let stage = Stage::new().await;
    let nothing = PluginOptions { max_tmp_bytes: 0, max_tmp_files: 0, ..options() };
    let hostile = load(&stage, nothing, &texts, &format!("{bad} (return {})", answer(17, 1))).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.ends(hostile).await;
}
