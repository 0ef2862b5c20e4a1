//! The private directory: files work in it, and nothing leads out of it.

use std::path::{Path, PathBuf};

use sgl_testkit::commanded::{commanded, on, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{asking, config, loaded_with};
use sgl_testkit::text::{answer, escaped};
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{CanaryOptions, Rollout};
use sglang_router_rs::policies::{
    Chooser, Load, PluginOptions, PolicyFactory, PolicyHandle, WasmPolicyConfig, unwatched,
};

use crate::wasi::{allowed, imports};

const FUNCTIONS: [&str; 10] = [
    "fd_close",
    "fd_prestat_get",
    "fd_read",
    "fd_write",
    "path_create_directory",
    "path_open",
    "path_readlink",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
];

const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;

/// Texts at 3000, each 200 bytes after the one before.
fn texts(texts: &[String]) -> String {
    let data = |(at, text): (usize, &String)| {
        format!(r#"(data (i32.const {}) "{}")"#, 3000 + 200 * at, escaped(text.as_bytes()))
    };
    texts.iter().enumerate().map(data).collect()
}

/// Where a text lies, and its length.
fn text(all: &[String], wanted: &str) -> String {
    let at = all.iter().position(|text| text == wanted).expect("a known text");
    format!("(i32.const {}) (i32.const {})", 3000 + 200 * at, wanted.len())
}

/// Opens a file for reading and writing, following symbolic links; the descriptor lies at 2048.
fn open(path: &str, flags: u32) -> String {
    format!(
        "(call $path_open (i32.const 3) (i32.const 1) {path} (i32.const {flags}) (i64.const 66) (i64.const 66)
           (i32.const 0) (i32.const 2048))"
    )
}

/// Moves 8 bytes between the file at 2048 and memory at 2100.
fn transfer(function: &str) -> String {
    format!(
        "(i32.store (i32.const 2060) (i32.const 2100)) (i32.store (i32.const 2064) (i32.const 8))
         (if (call ${function} (i32.load (i32.const 2048)) (i32.const 2060) (i32.const 1) (i32.const 2068))
           (then unreachable))
         (if (i32.ne (i32.load (i32.const 2068)) (i32.const 8)) (then unreachable))"
    )
}

/// Answers the error number of the instruction; 0 is success.
fn errno(instruction: &str) -> String {
    format!("(i32.store8 (i32.const 16) {instruction}) (return {})", answer(16, 1))
}

async fn plugin(cases: &[String], data: &[String]) -> (PolicyFactory, PolicyHandle) {
    let limits = WasmPolicyConfig { allowed_syscalls: allowed(&FUNCTIONS), ..config("test") };
    let options = PluginOptions { min_warm: 1, max_instances: 1, ..PluginOptions::default() };
    let cases: String =
        cases.iter().enumerate().map(|(at, case)| on(10 + u32::try_from(at).unwrap(), case)).collect();
    let wasm = commanded(&format!("{}{}", imports(&FUNCTIONS), texts(data)), &cases);
    loaded_with(limits, options, wasm).await
}

async fn run(policy: &PolicyHandle, case: usize) -> usize {
    let decision = policy.decide_async(&fleet(128).table(), &asking(&prompt(10 + case))).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "case {case}: {decision:?}");
    decision.index()
}

/// The private directory in which a guest made a file of this name.
fn private_directory_with(name: &str) -> PathBuf {
    let temp = std::fs::read_dir(std::env::temp_dir()).unwrap();
    let ours = temp
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("sgl-plugin-"));
    let mut found = ours.filter(|path| path.join(name).exists());
    found.next().expect("the file lies in a private directory")
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_work_in_the_private_directory_which_goes_at_the_end() {
    let data = ["own-7f3a.txt".to_owned()];
    let own = text(&data, &data[0]);
    let write = format!(
        "(if {} (then unreachable)) (i64.store (i32.const 2100) (i64.const 0x3837363534333231)) {}
         (drop (call $fd_close (i32.load (i32.const 2048)))) {}",
        open(&own, CREATE),
        transfer("fd_write"),
        errno("(i32.const 0)")
    );
    let read = format!(
        "(if {} (then unreachable)) (i64.store (i32.const 2100) (i64.const 0)) {} {}",
        open(&own, 0),
        transfer("fd_read"),
        errno("(i64.eq (i64.load (i32.const 2100)) (i64.const 0x3837363534333231))")
    );
    let (factory, policy) = plugin(&[write, read], &data).await;
    assert_eq!(run(&policy, 0).await, 0);
    assert_eq!(run(&policy, 1).await, 1, "it reads what it wrote");
    let alone = std::thread::scope(|scope| {
        let decide = || policy.decide(&fleet(9).table(), &asking(&prompt(11))).unwrap().index();
        scope.spawn(decide).join().unwrap()
    });
    assert_eq!(alone, 1, "a caller without a runtime reads it, too");
    let directory = private_directory_with(&data[0]);
    assert_eq!(std::fs::read(directory.join(&data[0])).unwrap(), b"12345678");
    assert_eq!(mode(&directory), 0o700);
    factory.unload_wasm_plugin("test");
    eventually("the directory is gone", || !directory.exists()).await;
}

#[tokio::test]
async fn files_of_a_canary_are_its_own_and_go_with_it() {
    let data = ["canary-5e1c.txt".to_owned()];
    let own = text(&data, &data[0]);
    let cases = [errno(&open(&own, CREATE)), errno(&open(&own, 0))];
    let (factory, policy) = plugin(&cases, &data).await;
    for promoted in [false, true] {
        let percent = CanaryOptions { percent: 100.0, min_secs: 3600, ..CanaryOptions::default() };
        let canary = PluginOptions { rollout: Rollout::Canary(percent), ..PluginOptions::default() };
        let same = factory.plugin_infos()[0].config.clone();
        factory.reconfigure_wasm_plugin(same, canary, unwatched()).await.unwrap();
        assert_ne!(run(&policy, 1).await, 0, "its directory begins empty");
        assert_eq!((run(&policy, 0).await, run(&policy, 1).await), (0, 0), "it finds what it wrote");
        let directory = private_directory_with(&data[0]);
        if promoted {
            factory.promote_wasm_plugin("test").await.unwrap();
            assert_eq!(run(&policy, 1).await, 0, "they are the plugin's now");
        } else {
            factory.roll_back_wasm_plugin("test").await.unwrap();
            assert_ne!(run(&policy, 1).await, 0, "the stable generation has seen nothing of them");
            eventually("the directory is gone", || !directory.exists()).await;
        }
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_private_directory() {
    let secret = tempfile::Builder::new().prefix("secret-").tempfile().unwrap();
    std::fs::write(secret.path(), "12345678").unwrap();
    let absolute = secret.path().to_str().unwrap().to_owned();
    let name = secret.path().file_name().unwrap().to_str().unwrap().to_owned();
    let outside = [
        format!("../{name}"),
        absolute.clone(),
        format!("inner/../../{name}"),
        "..".to_owned(),
        "/".to_owned(),
        "/etc/passwd".to_owned(),
        "inner/link".to_owned(),
        "planted".to_owned(),
        "planted-parent/passwd".to_owned(),
    ];
    let more = ["inner".to_owned(), "marker-91bc".to_owned(), format!("../../{name}")];
    let data: Vec<String> = outside.iter().chain(&more).cloned().collect();
    let at = |wanted: &str| text(&data, wanted);
    let link =
        |target: &str| format!("(call $path_symlink {} (i32.const 3) {})", at(target), at("inner/link"));
    let rename = format!(
        "(call $path_rename (i32.const 3) {} (i32.const 3) {})",
        at("marker-91bc"),
        at(&format!("../{name}"))
    );
    let mut cases = vec![
        errno(&format!("(call $path_create_directory (i32.const 3) {})", at("inner"))),
        errno(&open(&at("marker-91bc"), CREATE)),
        errno(&link(&absolute)),
        errno(&link(&format!("../../{name}"))),
        errno(&rename),
        errno(&format!("(call $path_unlink_file (i32.const 3) {})", at(&format!("../{name}")))),
    ];
    let opens = cases.len();
    for path in &outside {
        cases.push(errno(&open(&at(path), 0)));
        cases.push(errno(&open(&at(path), CREATE)));
        cases.push(errno(&open(&at(path), DIRECTORY)));
    }
    assert!(10 + cases.len() < 64);
    let (_factory, policy) = plugin(&cases, &data).await;
    assert_eq!(run(&policy, 0).await, 0);
    assert_eq!(run(&policy, 1).await, 0);
    assert_ne!(run(&policy, 2).await, 0, "a link to an absolute path");
    // A relative link may be made; it leads nowhere. If it was refused, the opens below fail, too.
    run(&policy, 3).await;
    assert_ne!(run(&policy, 4).await, 0, "a file must not be moved out");
    assert_ne!(run(&policy, 5).await, 0, "nor one outside be removed");
    // Links that somebody else put there.
    let directory = private_directory_with("marker-91bc");
    std::os::unix::fs::symlink(secret.path(), directory.join("planted")).unwrap();
    std::os::unix::fs::symlink("/etc", directory.join("planted-parent")).unwrap();
    for (index, case) in (opens..cases.len()).enumerate() {
        assert_ne!(run(&policy, case).await, 0, "{} ({})", outside[index / 3], index % 3);
    }
    assert_eq!(std::fs::read(secret.path()).unwrap(), b"12345678");
}

#[tokio::test]
async fn plugin_without_path_functions_sees_no_directory() {
    let functions = ["fd_prestat_get", "fd_read", "fd_write"];
    let limits = WasmPolicyConfig { allowed_syscalls: allowed(&functions), ..config("test") };
    let cases = on(1, &errno("(call $fd_prestat_get (i32.const 3) (i32.const 2048))"));
    let wasm = commanded(&imports(&functions), &cases);
    let (_factory, policy) = loaded_with(limits, PluginOptions::default(), wasm).await;
    let decision = policy.decide_async(&fleet(128).table(), &asking("x")).await.unwrap();
    assert_eq!(decision.index(), 8, "EBADF");
}

#[tokio::test]
async fn generations_of_a_plugin_share_their_directory_and_plugins_do_not() {
    let data = ["shared-55d0".to_owned()];
    let own = text(&data, &data[0]);
    let cases = [errno(&open(&own, CREATE)), errno(&open(&own, 0))];
    let (factory, policy) = plugin(&cases, &data).await;
    assert_eq!(run(&policy, 0).await, 0);
    let commands = [on(10, &cases[0]), on(11, &cases[1])].concat();
    let wasm = commanded(&format!("{}{}", imports(&FUNCTIONS), texts(&data)), &commands);
    let limits = WasmPolicyConfig { allowed_syscalls: allowed(&FUNCTIONS), ..config("test") };
    let options = PluginOptions::default();
    factory.load(Load::bytes(limits.clone(), wasm.clone()).with(options.clone())).await.unwrap();
    assert_eq!(run(&policy, 1).await, 0, "the next generation finds the file");
    let other = WasmPolicyConfig { name: "other".into(), ..limits };
    factory.load(Load::bytes(other, wasm).with(options)).await.unwrap();
    assert_ne!(run(&factory.create_by_name("other").unwrap(), 1).await, 0, "another plugin does not");
}
