//! Three servers of NATS.

use std::time::{Duration, Instant};

use sgl_fleet::connection::{ConnectionSettings, FleetConnection};
use sgl_fleet::fleet_address::FleetAddress;
use sgl_testkit::nats_cluster::NatsCluster;

use crate::member::{Member, done, module, within};

/// Who leads a stream.
async fn leader(url: &str, stream: &str) -> Option<String> {
    let settings = ConnectionSettings::new(FleetAddress::parse(url).expect("an address"), "a test");
    let connection = FleetConnection::now(&settings).await.ok()?;
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = connection.client().request(subject, "".into()).await.ok()?;
    let info: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
    if info["error"].is_object() {
        return None;
    }
    assert_eq!(info["config"]["num_replicas"], 3, "{info}");
    Some(info["cluster"]["leader"].as_str()?.to_owned())
}

/// Pushes until it is taken: while a leader is chosen nobody takes anything. Gives the generation.
async fn push(url: &str, file: &str) -> u64 {
    let push = ["push", file, "--name", "p", "--steps", "100", "--soak-secs", "0", "--json"];
    let began = Instant::now();
    loop {
        let (code, out, error) =
            crate::member::fleet(url, &[&push[..], &["--fleet-replicas", "3"]].concat()).await;
        if code == 0 {
            let pushed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
            return pushed["generation"].as_u64().expect("a number");
        }
        assert!(code == 3 && began.elapsed() < Duration::from_secs(60), "{code} {error}");
    }
}

#[tokio::test]
async fn leader_of_three_that_is_killed_takes_nothing_with_it() {
    let Some(mut cluster) = NatsCluster::start(3) else { return };
    let (url, dir) = (cluster.url(), tempfile::tempdir().unwrap());
    let file = |choice: u8| {
        let wasm = sgl_testkit::small_guests::guest_choosing(choice);
        module(dir.path(), &format!("{choice}.wasm"), &wasm)
    };
    let flags = ["--fleet-replicas", "3"];
    let a = Member::start_with(&url, "a", dir.path(), &flags).await;
    let b = Member::start_with(&url, "b", dir.path(), &flags).await;
    let routers = [&a, &b];
    let mut last = push(&url, &file(0)).await;
    for router in routers {
        router.serves(last).await;
    }
    for (round, stream) in ["KV_sgl-desired", "KV_sgl-live", "OBJ_sgl-modules"].into_iter().enumerate() {
        let mut name = None;
        within("somebody leads", async || {
            name = leader(&url, stream).await;
            name.is_some()
        })
        .await;
        let name = name.expect("a name");
        cluster.named(&name).kill();
        let next = push(&url, &file(u8::from(round % 2 == 0))).await;
        // One that was not answered may have been taken, too; none that was acknowledged is gone.
        assert!(next > last, "{stream}: {next} after {last}");
        last = next;
        for router in routers {
            router.serves(last).await;
            assert!(router.fleet().await["holding"].is_null(), "nothing went back");
        }
        cluster.named(&name).start_again();
    }
    // Who lives is known again once all have said a word.
    within("both are heard of to serve it", async || {
        let shown = done(&url, &["status"]).await;
        let plugin = &shown["plugins"][0];
        (&plugin["generation"], &plugin["serving"]) == (&last.into(), &2.into())
    })
    .await;
}
