//! What operators are told, and operators who race.

use sgl_testkit::nats_server::NatsServer;

use crate::member::{Member, Two, done, fleet, push, within};

#[tokio::test]
async fn pushes_that_race_get_numbers_of_their_own_and_the_last_is_served() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    let one = async |module: &str| {
        let arguments = ["push", module, "--name", "p", "--steps", "100", "--soak-secs", "0"];
        done(&two.url, &arguments).await["generation"].as_u64().unwrap()
    };
    let (a, b, c) = tokio::join!(one(&two.modules[0]), one(&two.modules[1]), one(&two.modules[0]));
    let mut numbers = [a, b, c];
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4]);
    two.serve(4).await;
    let (code, _, error) = fleet(&two.url, &["rollback", "p", "--generation", "3"]).await;
    assert!(code == 1 && error.contains("the newest generation is 4, not 3"), "{code} {error}");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_what_was_found() {
    let Some(two) = Two::start().await else { return };
    for (arguments, code, said) in [
        (&["rollback", "q"][..], 4, "has no plugin q"),
        (&["push", "/nowhere.wasm"], 2, "/nowhere.wasm"),
        (&["push", &two.modules[0], "--steps", "50,20,100"], 1, "steps"),
        (&["push", &two.modules[0], "--name", "a.b"], 2, "a.b"),
        (&["push", &two.modules[0], "--options", r#"{"rollout":{"mode":"canary"}}"#], 2, "--steps"),
        (&["push", &two.modules[0], "--options", r#"{"nonsense":1}"#], 2, "nonsense"),
        (&["adopt", "--from", "z"], 1, "router z is not heard of; those that are: a, b"),
    ] {
        let (found, _, error) = fleet(&two.url, arguments).await;
        assert!(found == code && error.contains(said), "{arguments:?}: {found} {error}");
    }
    let (code, out, error) = fleet("nats://127.0.0.1:1", &["status", "--json"]).await;
    assert!(code == 3 && error.contains("cannot be reached"), "{code} {error}");
    assert!(out.contains("fleet_unreachable"), "{out}");
    let mut typo =
        sgl_testkit::process::command(&["fleet", "--fleet", &two.url, "--fleet-name", "ff", "status"]);
    typo.env_remove("SGL_ROUTER_FLEET_NAME");
    let ended = sgl_testkit::process::output(typo).await;
    let error = sgl_testkit::process::stderr(&ended);
    assert!(
        ended.status.code() == Some(1) && error.contains("no fleet ff in NATS; those that there are: f"),
        "{error}"
    );
    let (code, out, _) = fleet(&two.url, &["status"]).await;
    assert!(code == 0 && out.contains("fleet f") && out.contains("2 routers"), "{out}");
}

#[tokio::test]
async fn router_that_was_given_something_alone_is_shown_and_follows_the_next_push() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let admin = format!("http://{}", two.routers[0].process.admin);
    let plugin = async |arguments: &[&str]| {
        let command = sgl_testkit::process::command(&["plugin", "--admin-url", &admin]);
        let mut command = command;
        command.args(arguments);
        let ended = sgl_testkit::process::output(command).await;
        (ended.status.code(), sgl_testkit::process::stderr(&ended))
    };
    let before = two.routers[0].digest().await;
    for by_mistake in
        [&["push", &two.modules[1], "--name", "p"][..], &["rollback", "p"], &["rm", "p", "--force"]]
    {
        let (code, error) = plugin(by_mistake).await;
        assert!(
            code == Some(1) && error.contains("p is a plugin of the fleet f (generation 1)"),
            "{code:?} {error}"
        );
        assert!(error.contains("--local"), "{error}");
    }
    assert_eq!(two.routers[0].digest().await, before);
    // Others are nobody's business, and a pause changes no plugin.
    for (arguments, code) in [
        (&["push", &two.modules[1], "--name", "mine"][..], 0),
        (&["rm", "mine"], 0),
        (&["pause", "p"], 0),
        (&["resume", "p"], 0),
        (&["push", &two.modules[1], "--name", "p", "--local"], 0),
    ] {
        let (found, error) = plugin(arguments).await;
        assert_eq!(found, Some(code), "{arguments:?}: {error}");
    }
    within("it is shown", async || two.routers[0].own().await["diverged"] == true).await;
    assert_eq!(two.routers[1].own().await["diverged"], false);
    assert_eq!(push(&two.url, &two.modules[1]).await, 2);
    two.serve(2).await;
    assert_eq!(two.routers[0].own().await["diverged"], false);
}

#[tokio::test]
async fn two_routers_of_one_name_are_told_of() {
    let Some(server) = NatsServer::start() else { return };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = Member::start(&server.url(), "a", one.path()).await;
    let _second = Member::start(&server.url(), "a", two.path()).await;
    let told = first.process.logged("has this name").await;
    assert_eq!(told["level"], "ERROR");
}

#[tokio::test]
async fn embedded_module_is_pushed_by_its_name_and_the_status_of_a_router_says_how_it_stands() {
    let Some(two) = Two::start().await else { return };
    let (code, _, error) = fleet(&two.url, &["push", "embedded:nonsense"]).await;
    assert!(code == 2 && error.contains("it has: ") && error.contains("toll"), "{code} {error}");
    let all = ["push", "embedded:toll", "--steps", "100", "--soak-secs", "0", "--wait"];
    assert_eq!(done(&two.url, &all).await["name"], "toll");
    within("both serve it", async || {
        two.routers[0].own().await["serving"] == 1 && two.routers[1].own().await["serving"] == 1
    })
    .await;
    let admin = format!("http://{}", two.routers[0].process.admin);
    let status = sgl_testkit::process::command(&["status", "--admin-url", &admin]);
    let page = sgl_testkit::process::stdout(&sgl_testkit::process::output(status).await);
    assert!(
        page.contains("fleet f as a, NATS reached for ")
            && page.contains("toll serves generation 1, as desired"),
        "{page}"
    );
}
