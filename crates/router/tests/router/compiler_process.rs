//! Modules are compiled in a process of their own, which ends at its limits and when nobody waits for it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::load;
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::eventually;
use sglang_router_rs::engine::{CompilerProcess, EngineOptions};
use sglang_router_rs::policies::{PluginError, PluginInfo, PolicyFactory, SelectWorkerInfo};

use sgl_testkit::modules;

/// The router's own compiler.
fn compiler() -> CompilerProcess {
    CompilerProcess { program: env!("CARGO_BIN_EXE_sgl-router").into(), ..CompilerProcess::this_program() }
}

fn factory(compiler: CompilerProcess) -> PolicyFactory {
    PolicyFactory::with_engine(EngineOptions { compiler: Some(compiler), ..EngineOptions::default() })
}

/// A compiler that does something else: a line for the shell.
fn shell(line: &str) -> CompilerProcess {
    let arguments = vec!["-c".into(), line.into()];
    CompilerProcess { program: "/bin/sh".into(), arguments, ..compiler() }
}

async fn error_of(compiler: CompilerProcess) -> String {
    error_over(compiler, guest_choosing(1)).await
}

async fn error_over(compiler: CompilerProcess, wasm: Vec<u8>) -> String {
    let loaded: Result<PluginInfo, PluginError> = load(&factory(compiler), "test", wasm).await;
    loaded.expect_err("it cannot be compiled").to_string()
}

#[tokio::test]
async fn module_that_another_process_compiled_decides() {
    let factory = factory(compiler());
    load(&factory, "test", guest_choosing(1)).await.expect("it loads");
    let policy = factory.create_by_name("test").unwrap();
    let table = fleet(2).table();
    let decision = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
    assert_eq!(decision.index(), 1);
}

#[tokio::test]
async fn shipped_plugin_compiles_within_the_default_limits() {
    let factory = factory(compiler());
    load(&factory, "test", built("prefix_affinity")).await.expect("it loads");
}

fn built(name: &str) -> Vec<u8> {
    modules::plugin(name)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn compiler_that_takes_more_memory_than_it_may_is_told_so() {
    let small = CompilerProcess { max_memory_bytes: 3 << 20, ..compiler() };
    let error = error_over(small, built("prefix_affinity")).await;
    assert!(error.contains("took more than 3 MiB of memory"), "{error}");
    assert!(error.contains("compile.max_memory"), "{error}");
}

#[tokio::test]
async fn compiler_that_takes_longer_than_it_may_is_ended() {
    let began = Instant::now();
    let error =
        error_of(CompilerProcess { max_time: Duration::from_millis(50), ..shell("exec sleep 60") }).await;
    assert!(error.contains("took more than 50ms"), "{error}");
    assert!(error.contains("compile.max_secs"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "nobody waited for its end");
}

#[tokio::test]
async fn load_that_is_given_up_ends_the_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let factory = factory(shell(&format!("echo $$ > {}; exec sleep 60", file.display())));
    let pid = || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'));
    {
        let mut loading = std::pin::pin!(load(&factory, "test", guest_choosing(1)));
        while pid().is_none() {
            tokio::select! {
                _ = &mut loading => panic!("it never compiles"),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
    }
    let process = Path::new("/proc").join(pid().unwrap().trim());
    eventually("the compiler is gone", || !process.exists()).await;
}

/// A shell in the place of a router that is killed: it can tell its child nothing.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn compiler_goes_with_its_router_although_its_module_may_still_come() {
    let worker = "compile-worker --max-memory 1073741824 --max-secs 60";
    let script = format!("exec 3<&0; \"$0\" {worker} <&3 & echo $!; wait");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script, env!("CARGO_BIN_EXE_sgl-router")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    // Kept open, since its end would end the compiler too.
    let _module = shell.stdin.take();
    let mut pid = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let about = |what: &str| std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join(what));
    // It takes descriptors from itself once its life is tied to its parent's.
    let is_tied = |limits: String| {
        limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 16 "))
    };
    eventually("it takes everything from itself", || about("limits").is_ok_and(is_tied)).await;
    shell.kill().unwrap();
    shell.wait().unwrap();
    let is_gone = || about("status").map_or(true, |status| status.contains("State:\tZ"));
    eventually("the compiler is gone", is_gone).await;
}

#[tokio::test]
async fn compiler_that_fails_is_told_with_the_way_out() {
    for (compiler, found) in [
        (CompilerProcess { program: "/nowhere/sgl-router".into(), ..compiler() }, "cannot be started"),
        (shell("echo oh no >&2; exit 7"), "exit status: 7: oh no"),
        (shell("kill -SEGV $$"), "signal: 11"),
    ] {
        let error = error_of(compiler).await;
        assert!(error.contains(found), "{error}");
        assert!(error.contains("compile.in_process = true"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_compiled_module_is_refused() {
    let error = error_of(shell("echo hello")).await;
    assert!(error.contains("does not compile"), "{error}");
}

/// What the module must not be told: the environment of the router.
#[tokio::test]
async fn compiler_gets_no_environment() {
    let error = error_of(shell("echo $HOME >&2; exit 7")).await;
    assert!(error.contains("exit status: 7: ;"), "{error}");
}
