//! Modules that attack whoever reads and compiles them.

use std::fmt::Write;

use sgl_policy_abi::Input;
use sgl_testkit::guest::GuestText;
use sgl_testkit::manifest::manifest;
use sgl_testkit::text::custom_section;
use sglang_router_rs::policies::{Load, PluginError, WasmPolicyConfig};

use crate::stage::{BAD, Stage, limits, options, says};

/// A custom section's bytes: id, size, name, content.
fn raw_section(size: &[u8], name_len: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(size);
    bytes.push(name_len);
    bytes.extend_from_slice(rest);
    bytes
}

#[tokio::test]
async fn module_with_two_manifests_is_refused() {
    // Whoever looks at the first sees a plugin that wants less than the second.
    let modest = manifest(&[Input::PromptBytes]);
    let second = manifest(&[Input::RequestText, Input::PromptBytes]);
    let wasm = GuestText { manifest: format!("{modest}{second}"), ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["has 2 such sections; leave one"]).await;
}

#[tokio::test]
async fn custom_sections_cut_short_are_refused() {
    let good = GuestText::default().wasm();
    for section in [
        // Longer than the file, by little and by 4 GiB.
        raw_section(&[40], 4, b"abcd"),
        raw_section(&[0xff, 0xff, 0xff, 0xff, 0x0f], 4, b"abcd"),
        // The name is longer than the section.
        raw_section(&[5], 200, b"abcd"),
        // A size that never ends, and none at all.
        raw_section(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80], 1, b"a"),
        vec![0],
    ] {
        let wasm = [good.as_slice(), &section].concat();
        let error = Stage::new().await.refuses(wasm, &["not valid WebAssembly at byte"]).await;
        assert!(matches!(error, PluginError::Module(_)), "{error:?}");
    }
}

#[tokio::test]
async fn manifest_cut_short_anywhere_is_refused() {
    let whole = GuestText::default().manifest;
    let inside = whole.split('"').nth(3).unwrap();
    let bytes = inside.len() / 3;
    let stage = Stage::new().await;
    for len in 0..bytes {
        let manifest = format!(r#"(@custom "sgl.policy" "{}")"#, &inside[..3 * len]);
        let wasm = GuestText { manifest, ..GuestText::default() }.wasm();
        let load = stage.loading(limits(), options(), wasm);
        says(
            &stage.beside(load).await.unwrap_err(),
            &["its manifest (custom section `sgl.policy`) is refused"],
        );
    }
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn module_cut_short_anywhere_is_refused() {
    let whole = GuestText::default().wasm();
    let stage = Stage::new().await;
    let mut whole_without_its_end = 0;
    for len in 0..whole.len() {
        let load = stage.loading(limits(), options(), whole[..len].to_vec());
        match load.await {
            Err(PluginError::Module(_)) => {}
            // Cut between two sections, behind the code: data, names and manifest are no must.
            Ok(_) => whole_without_its_end += 1,
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
    assert!((1..=4).contains(&whole_without_its_end), "{whole_without_its_end}");
    assert!(stage.factory.unload_wasm_plugin("hostile"));
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn module_of_a_hundred_megabytes_is_refused() {
    let mut wasm = GuestText::default().wasm();
    wasm.resize(100 << 20, 0);
    let parts = ["the module has 104857600 bytes; the limit is 33554432"];
    let error = Stage::new().await.refuses(wasm, &parts).await;
    assert!(matches!(error, PluginError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn file_of_a_hundred_megabytes_is_refused_unread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Ten terabytes would be read for hours; they are not even there.
    file.as_file().set_len(10 << 40).unwrap();
    let stage = Stage::new().await;
    let config = WasmPolicyConfig { module_path: file.path().to_str().unwrap().into(), ..limits() };
    let load = Box::pin(stage.factory.load(Load::file(config).with(options())));
    let error = stage.beside(load).await.unwrap_err();
    assert!(matches!(error, PluginError::TooLarge { .. }), "{error:?}");
    stage.nothing_is_left().await;
}

#[cfg(unix)]
#[tokio::test]
async fn file_that_is_no_file_is_refused() {
    for path in ["/dev/zero", "/dev/null", "/"] {
        let stage = Stage::new().await;
        let config = WasmPolicyConfig { module_path: path.into(), ..limits() };
        let load = Box::pin(stage.factory.load(Load::file(config).with(options())));
        let error = stage.beside(load).await.unwrap_err();
        assert!(matches!(error, PluginError::Read { .. }), "{error:?}");
        says(&error, &[path, "expected a regular file"]);
        stage.nothing_is_left().await;
    }
}

#[tokio::test]
async fn thirty_megabytes_that_mean_nothing_are_carried() {
    let mut wasm = GuestText::default().wasm();
    let section = wat::parse_str(format!("(module {})", custom_section("padding", b"x"))).unwrap();
    // Its content is made longer in the bytes: id, size, name, then the padding.
    assert_eq!(section[8], 0);
    let padding = 30 << 20;
    let size = u32::try_from(8 + padding).unwrap();
    wasm.push(0);
    wasm.extend((0..5).map(|at| {
        let seven = u8::try_from((size >> (7 * at)) & 0x7f).unwrap();
        if at < 4 { seven | 0x80 } else { seven }
    }));
    wasm.extend_from_slice(b"\x07padding");
    wasm.resize(wasm.len() + padding, b'x');
    let stage = Stage::new().await;
    let hostile = stage.load(wasm).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    stage.ends(hostile).await;
}

/// A function whose blocks all can jump to each other's ends, with many locals that live on.
fn tangled(blocks: usize, locals: usize) -> String {
    let mut text = String::from("(func (param i32) (result i32)");
    write!(text, "(local {})", "i32 ".repeat(locals)).unwrap();
    text.push_str(&"block ".repeat(blocks));
    for depth in 0..blocks {
        let (a, b) = (1 + depth % locals, 1 + (depth * 7) % locals);
        write!(text, "local.get {a} local.get {b} i32.add local.set {b} local.get {a} br_table ").unwrap();
        for target in 0..(blocks - depth).min(40) {
            write!(text, "{target} ").unwrap();
        }
        text.push_str("end ");
    }
    text.push_str("local.get 1)");
    text
}

#[tokio::test]
async fn module_that_compiles_slowly_holds_up_nobody() {
    // Seconds of compilation for some ten kilobytes; how long does not matter here, only that
    // others go on: `load` asks the neighbour all the while.
    let wasm = GuestText { fields: &tangled(300, 40), ..GuestText::default() }.wasm();
    assert!(wasm.len() < 32 << 10);
    let stage = Stage::new().await;
    let hostile = stage.load(wasm).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn function_of_too_many_locals_is_refused() {
    // `wat` writes each group of locals; the validator's limit is 50,000.
    let fields = format!("(func (local {}))", "i64 ".repeat(50_001));
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["not valid WebAssembly at byte", "locals"]).await;
}
