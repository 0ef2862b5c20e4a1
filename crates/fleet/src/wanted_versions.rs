//! What one router does about one plugin.

use crate::desired_plugin::{DesiredPlugin, PluginTarget};

/// What one router does about one plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WantedVersions<'a> {
    /// What it serves; `None`: nothing of the fleet's.
    pub serve: Option<&'a PluginTarget>,
    /// What it makes ready beside that.
    pub prepare: Option<&'a PluginTarget>,
}

/// What a router does that is in the step, or is not. One that serves the target already stays with it until
/// it is rolled back, whoever joins or leaves meanwhile.
pub fn wanted(plugin: &DesiredPlugin, is_in_step: bool, serves: u64) -> WantedVersions<'_> {
    let target = &plugin.target;
    if plugin.state.is_over() {
        return WantedVersions { serve: plugin.settled(), prepare: None };
    }
    if is_in_step || serves == target.generation {
        return WantedVersions { serve: Some(target), prepare: None };
    }
    WantedVersions { serve: plugin.settled(), prepare: Some(target) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired_plugin::StepPlan;

    fn numbers(plugin: &DesiredPlugin, is_in_step: bool, serves: u64) -> (u64, u64) {
        let wanted = wanted(plugin, is_in_step, serves);
        let number = |target: Option<&PluginTarget>| target.map_or(0, |target| target.generation);
        (number(wanted.serve), number(wanted.prepare))
    }

    #[test]
    fn target_is_made_ready_before_it_serves_and_goes_where_it_failed() {
        let plan = StepPlan { steps: vec![10, 100], ..StepPlan::default() };
        let one = DesiredPlugin::pushed(None, PluginTarget::of_tests(), plan.clone()).unwrap();
        assert_eq!(numbers(&one, false, 0), (0, 1));
        let done = one.advanced().unwrap().advanced().unwrap().advanced().unwrap();
        assert_eq!((numbers(&done, true, 0), numbers(&done, false, 0)), ((1, 0), (1, 0)));
        let two = DesiredPlugin::pushed(Some(&done), PluginTarget::of_tests(), plan).unwrap();
        assert_eq!((numbers(&two, false, 1), numbers(&two, true, 1)), ((1, 2), (2, 0)));
        assert_eq!(numbers(&two, false, 2), (2, 0), "who serves it stays");
        let back = two.rolled_back("x").unwrap();
        assert_eq!((numbers(&back, false, 2), numbers(&back, true, 2)), ((1, 0), (1, 0)));
        assert_eq!(numbers(&one.rolled_back("x").unwrap(), false, 0), (0, 0));
    }
}
