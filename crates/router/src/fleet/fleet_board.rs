//! What operators see of the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use sgl_api::{FleetPluginView, FleetView};
use sgl_fleet::desired_plugin::RolloutState;

/// What operators see of the fleet; nothing of a router that is in none.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetBoard(Arc<Mutex<ShownFleet>>);

#[derive(Debug, Default)]
struct ShownFleet {
    view: Option<FleetView>,
    heard: Option<Instant>,
    rollbacks: BTreeMap<String, u64>,
}

impl FleetBoard {
    /// Shows this from now on; NATS was `heard` then.
    pub(crate) fn show(&self, view: FleetView, heard: Option<Instant>) {
        let mut shown = self.0.lock();
        let before = shown.view.take();
        for plugin in &view.plugins {
            // Of what is seen first nobody knows whether it was rolled back long ago.
            let known = before.iter().flat_map(|view| &view.plugins).find(|known| known.name == plugin.name);
            let is_new = known.is_some_and(|known| is_rolled_back_since(known, plugin));
            *shown.rollbacks.entry(plugin.name.clone()).or_default() += u64::from(is_new);
        }
        (shown.view, shown.heard) = (Some(view), heard);
    }

    /// What is shown.
    pub(crate) fn view(&self) -> Option<FleetView> {
        let shown = self.0.lock();
        let mut view = shown.view.clone()?;
        view.heard_ms =
            shown.heard.map(|heard| u64::try_from(heard.elapsed().as_millis()).unwrap_or(u64::MAX));
        Some(view)
    }

    /// How many generations were seen to be rolled back, by plugins.
    pub(crate) fn rollbacks(&self) -> BTreeMap<String, u64> {
        self.0.lock().rollbacks.clone()
    }
}

fn is_rolled_back_since(known: &FleetPluginView, now: &FleetPluginView) -> bool {
    let is_back = |plugin: &FleetPluginView| plugin.state == RolloutState::RolledBack.as_str();
    is_back(now) && (known.generation != now.generation || !is_back(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(generation: u64, state: RolloutState) -> FleetView {
        let state = state.as_str().to_owned();
        let plugin =
            FleetPluginView { name: "p".to_owned(), generation, state, ..FleetPluginView::default() };
        FleetView { plugins: vec![plugin], ..FleetView::default() }
    }

    #[test]
    fn rollback_is_counted_once_and_not_where_it_is_what_is_seen_first() {
        let board = FleetBoard::default();
        let shown = |generation, state| {
            board.show(view(generation, state), None);
            board.rollbacks()["p"]
        };
        assert_eq!(shown(3, RolloutState::RolledBack), 0);
        assert_eq!(shown(4, RolloutState::Rolling), 0);
        assert_eq!(shown(4, RolloutState::RolledBack), 1);
        assert_eq!(shown(4, RolloutState::RolledBack), 1);
        assert_eq!(shown(5, RolloutState::RolledBack), 2, "its beginning was not seen");
    }

    #[test]
    fn age_grows_until_something_is_heard() {
        let board = FleetBoard::default();
        assert!(board.view().is_none());
        board.show(view(1, RolloutState::Done), None);
        assert_eq!(board.view().unwrap().heard_ms, None);
        board
            .show(view(1, RolloutState::Done), Instant::now().checked_sub(std::time::Duration::from_secs(2)));
        assert!(board.view().unwrap().heard_ms.unwrap() >= 2000);
    }
}
