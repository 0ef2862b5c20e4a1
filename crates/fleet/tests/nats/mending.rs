//! Values that nobody can understand, and keys that nobody can name.

use sgl_fleet::desired_set::Epoch;
use sgl_testkit::nats_server::NatsServer;

use crate::{key, pushed_by, store};

/// Puts a value there as anybody may who reaches the server.
async fn put(url: &str, key: &str, value: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let bucket = async_nats::jetstream::new(client).get_key_value("sgl-desired").await.unwrap();
    bucket.put(key, value.to_owned().into()).await.unwrap();
}

#[tokio::test]
async fn value_that_cannot_be_understood_is_refused_told_of_and_mended_by_a_push() {
    let Some(server) = NatsServer::start() else { return };
    let store = store(&server.url()).await;
    for expected in [1, 2] {
        let pushed = store.change(&key("p"), pushed_by("me")).await.unwrap().unwrap();
        assert_eq!(pushed.plugin.target.generation, expected);
    }
    let last = store.desired().await.unwrap().plugins["p"].plugin.clone();
    let mut numbered = last.clone();
    numbered.target.generation = u64::MAX;
    let later = serde_json::to_string(&sgl_fleet::desired_plugin::DesiredPlugin { v: 2, ..last }).unwrap();
    let numbered = serde_json::to_string(&numbered).unwrap();
    for (next, nonsense) in (3..).zip(["{\"v\":1,", "", &later, &numbered]) {
        put(&server.url(), "fleet.plugin.p", nonsense).await;
        let seen = store.desired().await.unwrap();
        assert!(seen.plugins.is_empty() && seen.malformed["p"].contains("a push puts another"), "{seen:?}");
        let refused = store.change(&key("p"), pushed_by("me")).await.unwrap_err().to_string();
        assert!(refused.contains("cannot be understood"), "{refused}");
        let mended = store.change_or_mend(&key("p"), pushed_by("me")).await.unwrap().unwrap();
        assert_eq!(mended.plugin.target.generation, next, "it follows the last that could be understood");
        let seen = store.desired().await.unwrap();
        assert!(seen.malformed.is_empty() && seen.plugins["p"] == mended, "{seen:?}");
    }
}

#[tokio::test]
async fn epoch_that_cannot_be_understood_is_told_of_and_replaced_with_those_before_it() {
    let Some(server) = NatsServer::start() else { return };
    let store = store(&server.url()).await;
    let first = store.begin_epoch().await.unwrap();
    put(&server.url(), "fleet.epoch", "{not json").await;
    let seen = store.desired().await.unwrap();
    assert!(seen.epoch.is_none() && seen.epoch_fault.unwrap().contains("fleet adopt"));
    assert!(store.begin_epoch().await.unwrap_err().to_string().contains("fleet adopt"));
    let replaced = store.replace_epoch(|before| Epoch::new(vec![before.unwrap().id], None)).await.unwrap();
    assert_eq!(replaced.replaces, [first.id]);
    let seen = store.desired().await.unwrap();
    assert_eq!((seen.epoch, seen.epoch_fault), (Some(replaced), None));
}

#[tokio::test]
async fn key_that_no_command_could_name_is_told_of_and_no_plugin() {
    let Some(server) = NatsServer::start() else { return };
    let store = store(&server.url()).await;
    store.change(&key("p"), pushed_by("me")).await.unwrap();
    let good = store.desired().await.unwrap().plugins["p"].plugin.bytes().unwrap();
    put(&server.url(), "fleet.plugin.a.b.c", std::str::from_utf8(&good).unwrap()).await;
    put(&server.url(), "other.epoch", "{}").await;
    let seen = store.desired().await.unwrap();
    assert_eq!(seen.plugins.keys().collect::<Vec<_>>(), ["p"]);
    assert!(seen.malformed["a.b.c"].contains("letters, digits"), "{seen:?}");
    let fleets = store.fleets().await.unwrap();
    assert_eq!(fleets.iter().collect::<Vec<_>>(), ["fleet", "other"]);
}
