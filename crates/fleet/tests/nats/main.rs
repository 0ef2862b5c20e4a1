//! A fleet's state in NATS' own server: races, answers that are lost, data that is lost.
#![expect(clippy::unwrap_used, reason = "a panic in a helper is a failed test")]

mod deaf_proxy;
mod following;
mod mending;
mod modules;
mod writes;

use serde_json::Map;
use sgl_fleet::KeyPart;
use sgl_fleet::connection::{ConnectionSettings, FleetConnection};
use sgl_fleet::desired_plugin::{DesiredPlugin, ModulePlace, PluginTarget, StepPlan};
use sgl_fleet::fleet_address::FleetAddress;
use sgl_fleet::store::FleetStore;

fn key(name: &str) -> KeyPart {
    KeyPart::parse("name", name).unwrap()
}

fn settings(url: &str) -> ConnectionSettings {
    ConnectionSettings::new(FleetAddress::parse(url).unwrap(), "a test")
}

async fn store(url: &str) -> FleetStore {
    FleetStore::new(FleetConnection::now(&settings(url)).await.unwrap(), key("fleet"))
}

/// What a push by somebody makes of what is there.
fn pushed_by(
    by: &str,
) -> impl FnMut(Option<&DesiredPlugin>) -> Result<Option<DesiredPlugin>, sgl_fleet::FleetStateError> {
    let target = PluginTarget {
        generation: 0,
        module: ModulePlace::Store,
        digest: "d".to_owned(),
        settings: Map::new(),
        place: false,
        policy_before: None,
        by: by.to_owned(),
    };
    move |before| DesiredPlugin::pushed(before, target.clone(), StepPlan::default()).map(Some)
}
