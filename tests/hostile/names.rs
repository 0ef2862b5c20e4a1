//! Names and texts that attack whoever reads them: control characters, and no end.

use sgl_policy_abi::{Input, Manifest};
use sgl_testkit::guest::GuestText;
use sgl_testkit::manifest::{plain_manifest, section};
use sgl_testkit::text::{answer, escaped, module};
use sglang_router_rs::policies::PluginError;

use crate::stage::Stage;

/// A message that an operator can read in a terminal.
fn is_readable(error: &PluginError) {
    let message = error.to_string();
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(message.len() < 4000, "{} bytes", message.len());
}

/// Clears the screen, and starts a line that looks like the router's own.
const EVIL: &str = r"\1b[2J\0d\0aINFO all is well\07";

#[tokio::test]
async fn import_with_control_characters_is_shown_escaped() {
    for import in [
        format!(r#"(import "{EVIL}" "f" (func))"#),
        format!(r#"(import "sgl" "{EVIL}" (func))"#),
        format!(r#"(import "wasi_snapshot_preview1" "{EVIL}" (func))"#),
        format!(r#"(import "wasi_snapshot_preview1" "sock_{EVIL}" (func))"#),
    ] {
        let wasm = GuestText { imports: &import, ..GuestText::default() }.wasm();
        let error = Stage::new().await.refuses(wasm, &["all is well"]).await;
        is_readable(&error);
    }
}

#[tokio::test]
async fn exports_with_control_characters_are_listed_escaped() {
    let wasm = module(&format!(r#"(memory (export "memory") 1) (func (export "{EVIL}"))"#));
    let parts = ["export `alloc` is missing", "all is well"];
    is_readable(&Stage::new().await.refuses(wasm, &parts).await);
}

#[tokio::test]
async fn exports_without_number_are_not_all_listed() {
    let many: String = (0..50_000).map(|at| format!(r#"(export "f{at}" (func 0))"#)).collect();
    let wasm = module(&format!(r#"(memory (export "memory") 1) (func) {many}"#));
    is_readable(&Stage::new().await.refuses(wasm, &["export `alloc` is missing"]).await);
}

#[tokio::test]
async fn duplicate_export_with_control_characters_is_shown_escaped() {
    let wasm = module(&format!(
        r#"(memory (export "memory") 1) (func) (export "{EVIL}a" (func 0)) (export "{EVIL}b" (func 0))"#
    ));
    let at = wasm.windows(5).rposition(|bytes| bytes == b"ell\x07b").unwrap();
    let mut wasm = wasm;
    wasm[at + 4] = b'a';
    is_readable(&Stage::new().await.refuses(wasm, &["duplicate export name", "all is well"]).await);
}

#[tokio::test]
async fn manifest_with_control_characters_is_refused() {
    let evil = "1\u{1b}[2J\n";
    let good = || Manifest { inputs: vec![Input::PromptBytes], ..plain_manifest() };
    for (key, manifest) in [
        ("name", Manifest { name: evil.into(), ..good() }),
        ("version", Manifest { version: evil.into(), ..good() }),
        ("description", Manifest { description: evil.into(), ..good() }),
    ] {
        let wasm = GuestText { manifest: section(&manifest), ..GuestText::default() }.wasm();
        let error = Stage::new().await.refuses(wasm, &["its manifest", &format!("`{key}`")]).await;
        is_readable(&error);
    }
}

#[tokio::test]
async fn manifest_of_a_book_is_refused() {
    let manifest =
        Manifest { description: "x".repeat(1 << 20), inputs: vec![Input::PromptBytes], ..plain_manifest() };
    let wasm = GuestText { manifest: section(&manifest), ..GuestText::default() }.wasm();
    is_readable(&Stage::new().await.refuses(wasm, &["its manifest", "`description`"]).await);
}

#[tokio::test]
async fn refusal_of_init_with_control_characters_is_shown_escaped_and_cut() {
    let mut error = b"\x81\xa5error\xda\x80\x00".to_vec();
    error.extend(b"\x1b[2J all is well\n".iter().cycle().take(0x8000));
    let fields = format!(r#"(data (i32.const 1024) "{}")"#, escaped(&error));
    let text = GuestText { fields: &fields, ..GuestText::default() }.text().replace(
        r#"(func $init (export "init") )"#,
        &format!(
            r#"(func $init (export "init") (param i32 i32) (result i64) {})"#,
            answer(1024, u32::try_from(error.len()).unwrap())
        ),
    );
    let wasm = wat::parse_str(text).unwrap();
    is_readable(&Stage::new().await.refuses(wasm, &["init refused: ", "all is well"]).await);
}
