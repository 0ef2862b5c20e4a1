//! What a router sees of its fleet.

use std::time::Duration;

use sgl_fleet::follow::follow;
use sgl_fleet::presence::RouterPresence;
use sgl_fleet::sight::FleetSight;
use sgl_testkit::nats_server::NatsServer;
use tokio::sync::watch;

use crate::{key, pushed_by, store};

/// Longest that a change of the sight may take: reading all of it comes every 10 seconds.
const LIMIT: Duration = Duration::from_secs(40);

async fn following(url: &str) -> watch::Receiver<FleetSight> {
    let store = store(url).await;
    let (told, sight) = watch::channel(FleetSight::default());
    tokio::spawn(async move { follow(&store, &told).await });
    sight
}

async fn sees(sight: &mut watch::Receiver<FleetSight>, is_so: impl FnMut(&FleetSight) -> bool) {
    let seen = tokio::time::timeout(LIMIT, sight.wait_for(is_so)).await.map(|seen| drop(seen.unwrap()));
    assert!(seen.is_ok(), "{:?}", sight.borrow());
}

fn generation(sight: &FleetSight) -> Option<u64> {
    Some(sight.desired.as_ref()?.plugins.get("p")?.plugin.target.generation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_routers_are_seen_also_after_restarts() {
    let Some(mut server) = NatsServer::start() else { return };
    let mut sight = following(&server.url()).await;
    let writer = store(&server.url()).await;
    writer.change(&key("p"), pushed_by("me")).await.unwrap();
    sees(&mut sight, |sight| generation(sight) == Some(1)).await;
    let presence = RouterPresence { router: "r".to_owned(), ..RouterPresence::default() };
    writer.say(&key("r"), &presence).await.unwrap();
    sees(&mut sight, |sight| sight.live.contains_key("r")).await;
    server.kill();
    sees(&mut sight, |sight| !sight.is_up).await;
    server.start_again();
    sees(&mut sight, |sight| sight.is_up).await;
    writer.connection().link().wait_for(|link| link.is_up).await.unwrap();
    writer.change(&key("p"), pushed_by("me")).await.unwrap();
    sees(&mut sight, |sight| generation(sight) == Some(2)).await;
    // Nobody has said anything of it since.
    sees(&mut sight, |sight| sight.live.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_server_is_noticed_and_one_that_lost_its_data_is_seen_as_it_is() {
    let Some(mut server) = NatsServer::start() else { return };
    let mut sight = following(&server.url()).await;
    let writer = store(&server.url()).await;
    writer.begin_epoch().await.unwrap();
    writer.change(&key("p"), pushed_by("me")).await.unwrap();
    sees(&mut sight, |sight| generation(sight) == Some(1)).await;
    server.freeze();
    sees(&mut sight, |sight| !sight.is_up).await;
    assert_eq!(generation(&sight.borrow()), Some(1), "what was seen last stays");
    server.thaw();
    sees(&mut sight, |sight| sight.is_up && sight.fault.is_none()).await;
    server.kill();
    server.wipe();
    server.start_again();
    sees(&mut sight, |sight| sight.is_up && generation(sight).is_none()).await;
    // A watch of the bucket before would wait for its next revision, for ever.
    writer.connection().link().wait_for(|link| link.is_up).await.unwrap();
    let again = store(&server.url()).await;
    again.change(&key("p"), pushed_by("me")).await.unwrap();
    sees(&mut sight, |sight| generation(sight) == Some(1)).await;
    again.change(&key("p"), pushed_by("me")).await.unwrap();
    sees(&mut sight, |sight| generation(sight) == Some(2)).await;
}
