//! How far a router has followed. What it follows never goes back: a server that lost its last writes, or
//! all of them, is not believed until an operator says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::desired_set::DesiredSet;

/// How far one plugin was followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginMark {
    /// The highest generation seen.
    pub generation: u64,
    /// The highest revision seen.
    pub revision: u64,
    /// Whether it was the fleet's no more then: nothing is lost with it.
    #[serde(default)]
    pub is_removed: bool,
}

/// How far a router has followed. Kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMarks {
    /// Which life of the data.
    pub epoch: Option<String>,
    /// By names of plugins.
    pub plugins: BTreeMap<String, PluginMark>,
}

/// What a router does about what it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkVerdict {
    /// It follows.
    Follow,
    /// Nobody has begun an epoch, and it has followed none: it begins one.
    Begin,
    /// It is named to write down what it served last, and does.
    Restore,
    /// It goes on with what it has, for this reason.
    Hold(String),
}

impl FleetMarks {
    /// What a router does about what it read.
    pub fn judge(&self, seen: &DesiredSet, router: &str) -> MarkVerdict {
        if let Some(fault) = &seen.epoch_fault {
            return MarkVerdict::Hold(fault.clone());
        }
        let Some(epoch) = &seen.epoch else {
            return match &self.epoch {
                None => MarkVerdict::Begin,
                Some(_) if self.plugins.is_empty() => MarkVerdict::Begin,
                Some(epoch) => MarkVerdict::Hold(format!("epoch {epoch} is gone: the server lost its data")),
            };
        };
        let is_own = self.epoch.as_ref().is_none_or(|own| *own == epoch.id);
        if !is_own && !self.plugins.is_empty() {
            let own = self.epoch.clone().unwrap_or_default();
            if !epoch.replaces.contains(&own) {
                let found = &epoch.id;
                return MarkVerdict::Hold(format!(
                    "epoch {found} is another one than {own}: the server lost its data"
                ));
            }
        }
        match &epoch.from {
            Some(from) if from == router => return MarkVerdict::Restore,
            Some(from) => {
                return MarkVerdict::Hold(format!("waits for router {from} to write what it serves"));
            }
            None => {}
        }
        // In an epoch that an operator put in the place of another, everything begins anew.
        if !is_own {
            return MarkVerdict::Follow;
        }
        self.went_back(seen).map_or(MarkVerdict::Follow, MarkVerdict::Hold)
    }

    fn went_back(&self, seen: &DesiredSet) -> Option<String> {
        self.plugins.iter().find_map(|(name, mark)| match seen.plugins.get(name) {
            None if mark.is_removed || seen.malformed.contains_key(name) => None,
            None => Some(format!("{name} is gone: the server lost it")),
            Some(found) if found.plugin.target.generation < mark.generation => {
                let found = found.plugin.target.generation;
                Some(format!(
                    "{name} went back from generation {} to {found}: the server lost writes",
                    mark.generation
                ))
            }
            Some(found) if found.revision < mark.revision => Some(format!(
                "{name} went back from revision {} to {}: the server lost writes",
                mark.revision, found.revision
            )),
            Some(_) => None,
        })
    }

    /// Notes what is followed. True if that is new.
    pub fn note(&mut self, seen: &DesiredSet) -> bool {
        let Some(epoch) = &seen.epoch else { return false };
        let mut next = self.clone();
        if next.epoch.as_ref() != Some(&epoch.id) {
            next = Self { epoch: Some(epoch.id.clone()), plugins: BTreeMap::new() };
        }
        for (name, found) in &seen.plugins {
            let is_removed = found.plugin.is_removed();
            let generation = found.plugin.target.generation;
            let mark = PluginMark { generation, revision: found.revision, is_removed };
            next.plugins.insert(name.clone(), mark);
        }
        let is_new = next != *self;
        *self = next;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired_plugin::{DesiredPlugin, PluginTarget, StepPlan};
    use crate::desired_set::{Epoch, RevisedPlugin};

    fn set(epoch: Option<Epoch>, plugins: &[(&str, u64, u64)]) -> DesiredSet {
        let target = PluginTarget::of_tests();
        let plugin = |(name, generation, revision): &(&str, u64, u64)| {
            let mut plugin = DesiredPlugin::pushed(None, target.clone(), StepPlan::default()).unwrap();
            plugin.target.generation = *generation;
            ((*name).to_owned(), RevisedPlugin { revision: *revision, plugin })
        };
        DesiredSet { epoch, plugins: plugins.iter().map(plugin).collect(), ..DesiredSet::default() }
    }

    fn epoch(id: &str, replaces: &[&str], from: Option<&str>) -> Option<Epoch> {
        let replaces = replaces.iter().map(|id| (*id).to_owned()).collect();
        Some(Epoch { id: id.to_owned(), replaces, from: from.map(str::to_owned) })
    }

    fn followed(seen: &DesiredSet) -> FleetMarks {
        let mut marks = FleetMarks::default();
        assert!(marks.note(seen) && !marks.note(seen));
        marks
    }

    fn holds(marks: &FleetMarks, seen: &DesiredSet) -> String {
        match marks.judge(seen, "r") {
            MarkVerdict::Hold(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_followed_back() {
        let marks = followed(&set(epoch("e", &[], None), &[("p", 5, 50)]));
        let seen = |generation, revision| set(epoch("e", &[], None), &[("p", generation, revision)]);
        assert_eq!(marks.judge(&seen(5, 50), "r"), MarkVerdict::Follow);
        assert_eq!(marks.judge(&seen(7, 90), "r"), MarkVerdict::Follow);
        assert!(holds(&marks, &seen(4, 51)).contains("generation 5 to 4"));
        assert!(holds(&marks, &seen(5, 49)).contains("revision 50 to 49"));
        assert!(holds(&marks, &set(epoch("e", &[], None), &[])).contains("p is gone"));
    }

    #[test]
    fn server_that_lost_its_data_is_followed_only_where_an_operator_says_so() {
        let marks = followed(&set(epoch("old", &[], None), &[("p", 5, 50)]));
        assert!(holds(&marks, &set(None, &[])).contains("is gone"));
        assert!(holds(&marks, &set(epoch("new", &[], None), &[])).contains("lost its data"));
        assert!(holds(&marks, &set(epoch("new", &["another"], None), &[])).contains("lost its data"));
        let adopted = set(epoch("new", &["old"], None), &[("p", 1, 2)]);
        assert_eq!(marks.judge(&adopted, "r"), MarkVerdict::Follow);
        let mut after = marks.clone();
        after.note(&adopted);
        assert_eq!(after, followed(&adopted), "the marks begin anew");
        let restoring = set(epoch("new", &["old"], Some("s")), &[]);
        assert!(holds(&marks, &restoring).contains("waits for router s"));
        assert_eq!(marks.judge(&restoring, "s"), MarkVerdict::Restore);
    }

    #[test]
    fn router_that_followed_nothing_has_nothing_to_lose() {
        let fresh = FleetMarks::default();
        assert_eq!(fresh.judge(&set(None, &[]), "r"), MarkVerdict::Begin);
        let other = set(epoch("e", &[], None), &[("p", 9, 90)]);
        assert_eq!(fresh.judge(&other, "r"), MarkVerdict::Follow);
        let empty = followed(&set(epoch("old", &[], None), &[]));
        assert_eq!(empty.judge(&other, "r"), MarkVerdict::Follow);
        assert_eq!(empty.judge(&set(None, &[]), "r"), MarkVerdict::Begin);
    }

    #[test]
    fn value_that_cannot_be_understood_is_not_lost() {
        let marks = followed(&set(epoch("e", &[], None), &[("p", 5, 50)]));
        let mut seen = set(epoch("e", &[], None), &[]);
        seen.malformed.insert("p".to_owned(), "of a later form".to_owned());
        assert_eq!(marks.judge(&seen, "r"), MarkVerdict::Follow);
    }

    #[test]
    fn epoch_that_cannot_be_understood_is_held_and_neither_lost_nor_begun_anew() {
        let seen = DesiredSet { epoch_fault: Some("nonsense".to_owned()), ..DesiredSet::default() };
        for marks in [FleetMarks::default(), followed(&set(epoch("e", &[], None), &[("p", 5, 50)]))] {
            assert_eq!(holds(&marks, &seen), "nonsense");
        }
    }

    #[test]
    fn what_was_removed_may_go_but_does_not_come_back_by_itself() {
        let mut gone = set(epoch("e", &[], None), &[("p", 5, 50)]);
        let removed = gone.plugins["p"].plugin.removed("by me").unwrap();
        gone.plugins.insert("p".to_owned(), RevisedPlugin { revision: 51, plugin: removed });
        let marks = followed(&gone);
        assert_eq!(marks.judge(&set(epoch("e", &[], None), &[]), "r"), MarkVerdict::Follow);
        let restored = set(epoch("e", &[], None), &[("p", 5, 50)]);
        assert!(holds(&marks, &restored).contains("revision 51 to 50"));
        assert_eq!(marks.judge(&set(epoch("e", &[], None), &[("p", 6, 52)]), "r"), MarkVerdict::Follow);
    }
}
