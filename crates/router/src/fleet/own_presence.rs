//! What this router says of itself.

use std::collections::BTreeMap;

use crate::fleet::held_plugin::HeldPlugin;
use crate::fleet::kept_fleet::FollowedState;
use crate::manage::PluginManager;
use sgl_fleet::desired_set::DesiredSet;
use sgl_fleet::presence::PluginHealth;

/// What it says of all plugins of the fleet that it holds something of, whether NATS has them now or not: an
/// operator chooses by it whose state is right. `followed` is what it followed last, `seen` what NATS has, if that
/// is followed.
pub(crate) fn healths(
    held: &BTreeMap<String, HeldPlugin>,
    followed: &FollowedState,
    seen: Option<&DesiredSet>,
    manager: &PluginManager,
) -> BTreeMap<String, PluginHealth> {
    let health = |(name, held): (&String, &HeldPlugin)| {
        let desired = seen.and_then(|seen| seen.plugins.get(name)).map(|revised| &revised.plugin);
        let revision = followed.plugins.get(name).map_or(0, |followed| followed.revision);
        let health = held.health(desired, revision, manager.detail(name).ok().as_ref());
        let is_held = desired.is_some_and(|desired| !desired.is_removed());
        (is_held || held.holds_something()).then(|| (name.clone(), health))
    };
    held.iter().filter_map(health).collect()
}
