//! What Prometheus is told of a fleet.

use crate::member::{Two, done, publish, push};

const OF_P: &str = r#"{fleet="f",plugin="p"}"#;

#[tokio::test]
async fn generations_routers_and_rollbacks_are_told_by_every_router() {
    let Some(two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    push(&two.url, &two.modules[1]).await;
    two.serve(2).await;
    for router in &two.routers {
        router.shows(r#"sgl_router_fleet_connected{fleet="f"}"#, |is| is == 1.0).await;
        router.shows(r#"sgl_router_fleet_routers{fleet="f"}"#, |count| count == 2.0).await;
        router.shows(r#"sgl_router_fleet_holding{fleet="f"}"#, |is| is == 0.0).await;
        for name in ["newest", "wanted", "serving"] {
            let sample = format!("sgl_router_fleet_{name}_generation{OF_P}");
            router.shows(&sample, |generation| generation == 2.0).await;
        }
        let state = r#"sgl_router_fleet_rollout_state{fleet="f",plugin="p",state="done"}"#;
        router.shows(state, |is| is == 1.0).await;
        router.shows(&format!("sgl_router_fleet_rollbacks_total{OF_P}"), |count| count == 0.0).await;
    }
    done(&two.url, &["rollback", "p"]).await;
    for router in &two.routers {
        router.shows(&format!("sgl_router_fleet_rollbacks_total{OF_P}"), |count| count == 1.0).await;
        router.shows(&format!("sgl_router_fleet_newest_generation{OF_P}"), |is| is == 2.0).await;
        for name in ["wanted", "serving"] {
            router.shows(&format!("sgl_router_fleet_{name}_generation{OF_P}"), |is| is == 1.0).await;
        }
        let state = r#"sgl_router_fleet_rollout_state{fleet="f",plugin="p",state="rolled_back"}"#;
        router.shows(state, |is| is == 1.0).await;
    }
}

#[tokio::test]
async fn nats_that_is_away_is_told_by_its_age_and_the_last_good_generations_stay() {
    let Some(mut two) = Two::start().await else { return };
    push(&two.url, &two.modules[0]).await;
    two.serve(1).await;
    let age = r#"sgl_router_fleet_age_seconds{fleet="f"}"#;
    // Each says a word every 3 seconds, and hears it.
    two.routers[0].shows(age, |seconds| seconds < 4.0).await;
    two.server.kill();
    for router in &two.routers {
        router.shows(r#"sgl_router_fleet_connected{fleet="f"}"#, |is| is == 0.0).await;
        router.shows(age, |seconds| seconds > 4.0).await;
        for name in ["newest", "wanted", "serving"] {
            router.shows(&format!("sgl_router_fleet_{name}_generation{OF_P}"), |is| is == 1.0).await;
        }
    }
    two.server.start_again();
    two.routers[0].shows(age, |seconds| seconds < 4.0).await;
}

#[tokio::test]
async fn messages_about_loads_are_counted_and_what_is_none_is_left_out() {
    let Some(two) = Two::start().await else { return };
    let of = |outcome: &str| {
        format!(r#"sgl_router_fleet_messages_total{{fleet="f",kind="loads",outcome="{outcome}"}}"#)
    };
    let router = &two.routers[0];
    for outcome in ["sent", "received"] {
        router.shows(&of(outcome), |count| count > 0.0).await;
    }
    assert_eq!(router.number(&of("malformed")).await, Some(0.0));
    assert_eq!(router.number(&of("missed")).await, Some(0.0));
    let nonsense = ["no JSON", r#"{"life":1}"#, r#"{"life":1,"number":1,"in_flight":{"http://w":-1}}"#];
    publish(&two.url, "sgl.load.f.z", nonsense).await;
    router.shows(&of("malformed"), |count| count == 3.0).await;
    let said = [1, 4, 2].map(|number| format!(r#"{{"life":1,"number":{number},"in_flight":{{}}}}"#));
    publish(&two.url, "sgl.load.f.z", said).await;
    router.shows(&of("missed"), |count| count == 2.0).await;
    router.shows(&of("late"), |count| count == 1.0).await;
    assert_eq!(router.number(&of("malformed")).await, Some(3.0));
}
