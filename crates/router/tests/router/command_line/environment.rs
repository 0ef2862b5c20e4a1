//! Flags in variables of the environment.

use std::process::Command;

use sgl_testkit::process::{command, output, stderr, stdout};

/// A router that does not start: its faults show what it has read.
fn faulty(variables: &[(&str, &str)]) -> Command {
    let mut command = command(&["serve"]);
    command.envs(variables.iter().copied()).env("SGL_ROUTER_HOST", "nowhere");
    command
}

#[tokio::test]
async fn every_flag_may_stand_in_a_variable() {
    let output = output(command(&["serve", "--help"])).await;
    let help = stdout(&output);
    let flags = help.lines().filter(|line| line.trim_start().starts_with("--")).count();
    let variables = help.matches("[env: SGL_ROUTER_").count();
    assert!(flags > 50 && flags == variables, "{flags} flags, {variables} variables");
}

#[tokio::test]
async fn lists_in_variables_are_split_and_settings_by_lines() {
    let output = output(faulty(&[
        ("SGL_ROUTER_WORKER_URLS", "http://a:1,ftp://b:2"),
        ("SGL_ROUTER_PREFILL", "http://p:1,9001,ftp://q:2"),
        ("SGL_ROUTER_POLICY_CONFIG", "a=[1, 2]\nno setting"),
        ("SGL_ROUTER_RETRY_MAX_RETRIES", "101"),
        ("SGL_ROUTER_DISABLE_CIRCUIT_BREAKER", "yes"),
    ]))
    .await;
    let said = stderr(&output);
    for fault in [
        "workers[1].url (--worker-urls): found \"ftp://b:2\"",
        "workers[3].url (--prefill): found \"ftp://q:2\"",
        "--policy-config: found \"no setting\"; allowed: KEY=VALUE",
        "retry.max_retries (--retry-max-retries): found 101",
        "server.host (--host): found \"nowhere\"",
    ] {
        assert!(said.contains(fault), "{fault} is missing in {said}");
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[tokio::test]
async fn flag_wins_over_its_variable() {
    let mut command = faulty(&[("SGL_ROUTER_RETRY_MAX_RETRIES", "101")]);
    command.args(["--retry-max-retries", "1"]);
    let said = stderr(&output(command).await);
    assert!(said.contains("server.host") && !said.contains("retry.max_retries"), "{said}");
}

#[tokio::test]
async fn port_of_a_service_of_kubernetes_is_passed_over() {
    let said = stderr(&output(faulty(&[("SGL_ROUTER_PORT", "tcp://10.0.0.1:30000")])).await);
    assert!(said.contains("server.host") && !said.contains("port"), "{said}");
    let said = stderr(&output(faulty(&[("SGL_ROUTER_PORT", "many")])).await);
    assert!(
        said.contains("'many' for '--port") && said.contains("in the variable SGL_ROUTER_PORT"),
        "{said}"
    );
    let mut typed = faulty(&[("SGL_ROUTER_PORT", "1")]);
    typed.args(["--port", "many"]);
    let said = stderr(&output(typed).await);
    assert!(said.contains("'many' for '--port") && !said.contains("variable"), "{said}");
}

#[tokio::test]
async fn variable_that_no_flag_has_is_warned_of_with_the_one_that_was_meant() {
    let mut check = command(&["serve", "--check", "--worker-urls", "http://127.0.0.1:1"]);
    check.envs([("SGL_ROUTER_POLCY", "random"), ("SGL_ROUTER_PORT_30000_TCP", "tcp://10.0.0.1:30000")]);
    let output = output(check).await;
    let said = stdout(&output);
    assert!(output.status.success() && said.matches("warning: ").count() == 1, "{said}");
    assert!(said.contains("SGL_ROUTER_POLCY") && said.contains("did you mean SGL_ROUTER_POLICY?"), "{said}");
}

#[tokio::test]
async fn flag_of_an_engine_is_called_that() {
    let said = stderr(&output(command(&["--tp-size", "8", "--worker-urls", "http://a"])).await);
    assert!(said.contains("that is the engine's flag") && said.contains("--tp-size"), "{said}");
    let said = stderr(&output(command(&["--worker-ulrs", "http://a"])).await);
    assert!(said.contains("--worker-urls") && !said.contains("engine"), "{said}");
}
