//! What a plugin gets to see: what it declares, and nothing else.

use sgl_policy_abi::Input;
use sgl_testkit::guest::GuestText;
use sgl_testkit::manifest::manifest;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::policies::{PluginOptions, SelectWorkerInfo, WasmPolicyConfig};

use crate::guest::wasi;
use crate::stage::{BAD, Stage, allowing, limits, options};

/// Searches all of memory for these four bytes and answers 1 if they are there, else 2.
fn searching(imports: &str, inputs: &[Input], needle: [u8; 4]) -> Vec<u8> {
    let bad = format!(
        "(local.set $i (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)))
         (loop $next
           (if (i32.eq (i32.load (local.get $i)) (i32.const {})) (then (return {})))
           (local.set $i (i32.sub (local.get $i) (i32.const 1)))
           (br_if $next (local.get $i)))
         (return {})",
        i32::from_le_bytes(needle),
        answer(17, 1),
        answer(18, 1)
    );
    GuestText { imports, manifest: manifest(inputs), bad: &bad, ..GuestText::default() }.wasm()
}

/// What a guest with these inputs finds of a secret in the prompt, and in a header.
async fn finds(inputs: &[Input]) -> [usize; 2] {
    let mut prompt = "PRMT".repeat(64);
    // Its size ends on the byte 1, which is the bad request.
    prompt.push('!');
    let headers = vec![("authorization".to_owned(), "Bearer HDRS".to_owned())];
    let info =
        SelectWorkerInfo { request_text: Some(&prompt), headers: Some(&headers), ..Default::default() };
    let mut found = [0; 2];
    for (found, needle) in found.iter_mut().zip([*b"PRMT", *b"HDRS"]) {
        let stage = Stage::new().await;
        let allowed = PluginOptions { allowed_secret_headers: vec!["authorization".to_owned()], ..options() };
        let hostile = stage.load_with(limits(), allowed, searching("", inputs, needle)).await;
        let decided = stage.beside(hostile.policy.decide_async(&stage.table, &info)).await.unwrap();
        *found = decided.index();
        drop(decided);
        stage.ends(hostile).await;
    }
    found
}

#[tokio::test]
async fn prompt_and_headers_reach_only_the_plugins_that_declare_them() {
    let header = || Input::Header("authorization".into());
    assert_eq!(finds(&[Input::PromptBytes]).await, [2, 2]);
    assert_eq!(finds(&[Input::RequestText, Input::PromptBytes]).await, [1, 2]);
    assert_eq!(finds(&[header(), Input::PromptBytes]).await, [2, 1]);
}

#[tokio::test]
async fn headers_with_credentials_need_leave() {
    for (name, wanted) in [
        (
            "authorization",
            r#"headers that carry credentials: authorization; to allow it: allowed_secret_headers = ["authorization"]"#,
        ),
        ("cookie", r#"allowed_secret_headers = ["cookie"]"#),
        ("x-api-key", r#"allowed_secret_headers = ["x-api-key"]"#),
        ("proxy-authorization", r#"allowed_secret_headers = ["proxy-authorization"]"#),
    ] {
        let inputs = [Input::Header(name.into()), Input::Header("x-tenant".into()), Input::PromptBytes];
        Stage::new().await.refuses(searching("", &inputs, *b"NONE"), &[wanted]).await;
    }
}

#[tokio::test]
async fn environment_and_arguments_are_empty() {
    const SIZES: [(&str, &str); 2] = [("environ_sizes_get", "i32 i32"), ("args_sizes_get", "i32 i32")];
    let bad = "(drop (call $environ_sizes_get (i32.const 2048) (i32.const 2052)))
      (drop (call $args_sizes_get (i32.const 2056) (i32.const 2060)))
      (if (i64.ne (i64.const 0) (i64.or (i64.load (i32.const 2048)) (i64.load (i32.const 2056))))
        (then unreachable))";
    let bad = format!("{bad} (return {})", answer(17, 1));
    let wasm = GuestText { imports: &wasi(&SIZES), bad: &bad, ..GuestText::default() }.wasm();
    assert!(std::env::vars().next().is_some(), "the router has an environment");
    let stage = Stage::new().await;
    let hostile = stage.load_with(allowing(&SIZES), options(), wasm).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn memory_of_an_instance_that_is_gone_is_not_found_in_the_next() {
    // The first writes a mark all over its memory and traps; whoever gets its place finds none.
    let marks = "(local.set $i (i32.const 65536))
      (loop $next (i32.store (local.get $i) (i32.const 0x4b52414d))
        (local.set $i (i32.add (local.get $i) (i32.const 4)))
        (br_if $next (i32.lt_u (local.get $i) (i32.shl (memory.size) (i32.const 16)))))
      unreachable";
    let stage = Stage::new().await;
    let one = || PluginOptions { max_instances: 1, ..options() };
    let first = WasmPolicyConfig { name: "first".into(), ..limits() };
    let wasm =
        GuestText { bad: marks, memory: r#"(memory (export "memory") 8)"#, ..GuestText::default() }.wasm();
    let first = stage.load_with(first, one(), wasm).await;
    for _ in 0..8 {
        first.ready().await;
        stage.decide(&first, BAD).await;
    }
    assert!(stage.factory.unload_wasm_plugin("first"));
    let text = searching(HOST, &[Input::PromptBytes], *b"MARK");
    let second = stage.load(text).await;
    stage.by_plugin(&second, BAD, 2).await;
    stage.ends(second).await;
}
