//! What operators see of the fleet.

use std::sync::Arc;

use parking_lot::Mutex;

use sgl_api::FleetView;

/// What operators see of the fleet; nothing of a router that is in none.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetBoard(Arc<Mutex<Option<FleetView>>>);

impl FleetBoard {
    /// Shows this from now on.
    pub(crate) fn show(&self, view: FleetView) {
        *self.0.lock() = Some(view);
    }

    /// What is shown.
    pub(crate) fn view(&self) -> Option<FleetView> {
        self.0.lock().clone()
    }
}
