//! What the binary prints of itself: help, version, completions, the manual.

use sgl_testkit::process::{command, output, stderr, stdout};

async fn printed(arguments: &[&str]) -> String {
    let output = output(command(arguments)).await;
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

#[tokio::test]
async fn version_tells_commit_abi_and_wasmtime() {
    let long = printed(&["--version"]).await;
    let line =
        |name: &str| long.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    assert!(!line("commit: ").is_empty(), "{long}");
    assert_eq!(line("plugin ABI: "), "1");
    assert!(line("wasmtime: ").split('.').all(|part| part.parse::<u32>().is_ok()), "{long}");
    assert_eq!(long, printed(&["--version-verbose"]).await);
    assert_eq!(printed(&["-V"]).await, format!("sgl-router {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn help_of_serve_is_grouped_and_silent_of_other_routers() {
    let help = printed(&["serve", "--help"]).await;
    for heading in ["Clients:", "Workers:", "Policy and plugins:", "Health of workers:", "Operators:"] {
        assert!(help.lines().any(|line| line == heading), "{heading} is missing in {help}");
    }
    let commands = printed(&["--help"]).await;
    let first = commands.lines().skip_while(|line| *line != "Commands:").nth(1);
    assert!(first.is_some_and(|line| line.trim_start().starts_with("serve ")), "{commands}");
    assert!(!help.contains("--jwt-issuer") && !help.contains("--cache-threshold"), "{help}");
}

#[tokio::test]
async fn every_shell_has_completions_of_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]).await;
        for word in ["worker-urls", "sim-worker", "plugin", "policy", "dry-run"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("jwt-issuer") && !script.contains("compile-worker"), "{shell}");
    }
}

#[tokio::test]
async fn manual_has_a_page_of_each_command() {
    let page = printed(&["man", "serve"]).await;
    assert!(
        page.contains(".TH") && page.contains("worker\\-urls") && !page.contains("jwt\\-issuer"),
        "{page}"
    );
    assert!(printed(&["man", "plugin", "push"]).await.contains("canary"));
    assert!(printed(&["man"]).await.contains("sgl\\-router"));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    printed(&["man", "--dir", dir.to_str().unwrap()]).await;
    for page in ["sgl-router.1", "sgl-router-serve.1", "sgl-router-policy-use.1", "sgl-router-reload.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
    assert!(!dir.join("sgl-router-compile-worker.1").exists());
    let names =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let of_help: Vec<String> = names.filter(|name| name.contains("-help")).collect();
    assert_eq!(of_help, [""; 0], "pages of `help` say nothing");
    let wrong = output(command(&["man", "nothing"])).await;
    assert!(!wrong.status.success());
    assert!(stderr(&wrong).contains("found no command \"nothing\"; there are: "), "{}", stderr(&wrong));
}
