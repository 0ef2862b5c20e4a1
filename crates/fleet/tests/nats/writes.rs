//! Writes of several at once, and writes whose answers are lost.

use std::collections::BTreeSet;

use sgl_fleet::FleetStateError;
use sgl_testkit::nats_server::NatsServer;

use crate::deaf_proxy::DeafProxy;
use crate::{key, pushed_by, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_of_racing_operators_all_count_and_no_generation_comes_twice() {
    let Some(server) = NatsServer::start() else { return };
    let operators: Vec<_> = (0..6)
        .map(|number| {
            let url = server.url();
            tokio::spawn(async move {
                let store = store(&url).await;
                let mut generations = Vec::new();
                for _ in 0..5 {
                    let pushed = store.change(&key("p"), pushed_by(&number.to_string())).await.unwrap();
                    generations.push(pushed.unwrap().plugin.target.generation);
                }
                generations
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for operator in operators {
        for generation in operator.await.unwrap() {
            assert!(all.insert(generation), "generation {generation} came twice");
        }
    }
    assert_eq!(all, (1..=30).collect());
    let desired = store(&server.url()).await.desired().await.unwrap();
    assert_eq!(desired.plugins["p"].plugin.target.generation, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_was_applied_though_its_answer_was_lost_is_found_and_not_repeated() {
    let Some(server) = NatsServer::start() else { return };
    let proxy = DeafProxy::before(server.address).await;
    let (direct, behind) = (store(&server.url()).await, store(&format!("nats://{}", proxy.address)).await);
    for others in [0, 3] {
        let before = direct.change(&key("p"), pushed_by("somebody")).await.unwrap().unwrap();
        let before = before.plugin.target.generation;
        // Its buckets are open; only the write itself gets no answer.
        behind.desired().await.unwrap();
        let (began, begun) = tokio::sync::oneshot::channel();
        let mut began = Some(began);
        let mut push = pushed_by("behind");
        let writing = tokio::spawn({
            let behind = behind.clone();
            async move {
                let change = |now: Option<&_>| {
                    if let Some(began) = began.take() {
                        began.send(()).unwrap();
                    }
                    push(now)
                };
                behind.change(&key("p"), change).await
            }
        });
        begun.await.unwrap();
        proxy.set_deaf(true);
        // The write arrives; others may write behind it before its answer is given up on.
        let applied = async || direct.desired().await.unwrap().plugins["p"].plugin.target.by == "behind";
        Box::pin(sgl_testkit::waits::until(applied)).await;
        for _ in 0..others {
            direct.change(&key("p"), pushed_by("another")).await.unwrap();
        }
        // It hears again only after it has given up on the answer.
        let mut link = behind.connection().link();
        link.wait_for(|link| !link.is_up).await.unwrap();
        proxy.set_deaf(false);
        let written = writing.await.unwrap().unwrap().unwrap();
        assert_eq!(written.plugin.target.generation, before + 1);
        let now = direct.desired().await.unwrap();
        assert_eq!(now.plugins["p"].plugin.target.generation, before + 1 + others, "it was written once");
    }
}

#[tokio::test]
async fn epoch_is_begun_once_whoever_comes_first() {
    let Some(server) = NatsServer::start() else { return };
    let (one, two) = (store(&server.url()).await, store(&server.url()).await);
    let (first, second) = tokio::join!(one.begin_epoch(), two.begin_epoch());
    let first = first.unwrap();
    assert_eq!(first, second.unwrap());
    let replaced =
        one.replace_epoch(|before| sgl_fleet::desired_set::Epoch::new(vec![before.unwrap().id], None));
    let replaced = replaced.await.unwrap();
    assert_eq!(replaced.replaces, [first.id]);
    assert_eq!(two.desired().await.unwrap().epoch, Some(replaced));
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_servers_that_are_away_are_told_of() {
    let Some(mut server) = NatsServer::start() else { return };
    let store = store(&server.url()).await;
    store.change(&key("p"), pushed_by("me")).await.unwrap();
    let refused = store.change(&key("p"), |_| Err(FleetStateError::Refused("no".to_owned()))).await;
    assert!(refused.unwrap_err().is_refusal());
    assert_eq!(store.change(&key("q"), |_| Ok(None)).await.unwrap(), None);
    assert_eq!(store.desired().await.unwrap().plugins.len(), 1);
    server.kill();
    let mut link = store.connection().link();
    link.wait_for(|link| !link.is_up).await.unwrap();
    let away = store.change(&key("p"), pushed_by("me")).await.unwrap_err();
    assert!(away.is_passing(), "{away}");
    let refused = sgl_fleet::connection::FleetConnection::now(&crate::settings(&server.url())).await;
    assert!(refused.unwrap_err().to_string().contains("cannot be reached"));
}
