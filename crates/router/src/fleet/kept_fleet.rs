//! How far a router has followed its fleet, in its state directory: a restart goes on from there, with NATS
//! away too, and is not led back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fleet::held_plugin::HeldVersion;
use crate::fleet::own_version::OwnVersion;
use crate::manage::digest::sha256;
use crate::manage::durable_file::{read_list, write_list};
use crate::manage::kept_plugin::BadFile;
use sgl_fleet::desired_set::{DesiredSet, RevisedPlugin};
use sgl_fleet::marks::FleetMarks;
use sglang_router_rs::config::Rollout;
use sglang_router_rs::policies::PluginInfo;

const FILE: &str = "fleet";

/// A version that serves, with what shows that it still does after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptVersion {
    version: HeldVersion,
    /// Of the module and all of its settings.
    fingerprint: String,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FollowedState {
    /// Which fleet it is.
    pub(crate) fleet: String,
    /// How far it was followed.
    pub(crate) marks: FleetMarks,
    /// The last good state.
    pub(crate) plugins: BTreeMap<String, RevisedPlugin>,
    /// What serves of it.
    pub(crate) serving: BTreeMap<String, KeptVersion>,
    /// What the router served of its own before, where the fleet serves something now.
    #[serde(default)]
    pub(crate) own: BTreeMap<String, OwnVersion>,
}

impl FollowedState {
    /// The last good state, as it was read.
    pub(crate) fn desired(&self) -> DesiredSet {
        DesiredSet { plugins: self.plugins.clone(), ..DesiredSet::default() }
    }

    /// Notes what is followed. What cannot be understood now stays as it was understood last. True if anything is
    /// new.
    pub(crate) fn note(&mut self, seen: &DesiredSet) -> bool {
        if !self.marks.note(seen) {
            return false;
        }
        self.plugins.retain(|name, _| seen.malformed.contains_key(name));
        self.plugins.extend(seen.plugins.clone());
        true
    }
}

impl KeptVersion {
    /// A version that serves as this plugin.
    pub(crate) fn of(version: HeldVersion, info: &PluginInfo) -> Self {
        Self { version, fingerprint: fingerprint(info) }
    }

    /// The version, if this plugin still is it.
    pub(crate) fn again(&self, info: &PluginInfo) -> Option<HeldVersion> {
        let is_same = self.fingerprint == fingerprint(info);
        is_same.then(|| HeldVersion { local: info.generation, ..self.version.clone() })
    }
}

/// Of the module and all of its settings, but for where it came from and how it took over.
fn fingerprint(info: &PluginInfo) -> String {
    let (mut config, mut options) = (info.config.clone(), info.options.clone());
    config.module_path.clear();
    options.rollout = Rollout::Immediate;
    // Both have a JSON form.
    let text = serde_json::to_string(&(&info.digest, &config, &options)).unwrap_or_default();
    sha256(text.as_bytes())
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct KeptFleet(PathBuf);

impl KeptFleet {
    /// That of a state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE))
    }

    /// What is kept of this fleet; nothing of another one.
    ///
    /// # Errors
    ///
    /// [`BadFile`] if it cannot be read or was changed.
    pub(crate) fn read(&self, fleet: &str) -> Result<FollowedState, BadFile> {
        let kept: Vec<FollowedState> = read_list(&self.0)?;
        let own = kept.into_iter().find(|state| state.fleet == fleet);
        Ok(own.unwrap_or_else(|| FollowedState { fleet: fleet.to_owned(), ..FollowedState::default() }))
    }

    /// Keeps it.
    ///
    /// # Errors
    ///
    /// [`BadFile`]; what was kept before is then.
    pub(crate) fn write(&self, state: &FollowedState) -> Result<(), BadFile> {
        write_list(&self.0, std::slice::from_ref(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sgl_fleet::desired_plugin::DesiredPlugin;
    use sgl_fleet::desired_set::Epoch;
    use sgl_fleet::marks::PluginMark;

    fn revised(revision: u64) -> RevisedPlugin {
        let value = serde_json::json!({
            "v": 1, "target": {"generation": 1, "module": "store", "digest": "d"}, "stable": null, "plan": {},
            "step": 0, "state": "rolling"
        });
        RevisedPlugin { revision, plugin: DesiredPlugin::read("k", value.to_string().as_bytes()).unwrap() }
    }

    #[test]
    fn what_cannot_be_understood_stays_as_it_was_and_what_is_gone_goes() {
        let mut state = FollowedState::default();
        let epoch = Some(Epoch::new(Vec::new(), None));
        let plugins = ["a", "b"].map(|name| (name.to_owned(), revised(7))).into();
        let seen = DesiredSet { epoch, plugins, ..DesiredSet::default() };
        assert!(state.note(&seen) && !state.note(&seen));
        let mut damaged = DesiredSet { epoch: Some(Epoch::new(Vec::new(), None)), ..DesiredSet::default() };
        damaged.malformed.insert("a".to_owned(), "nonsense".to_owned());
        damaged.plugins.insert("c".to_owned(), revised(9));
        assert!(state.note(&damaged));
        assert_eq!(state.plugins.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(state.plugins["a"].revision, 7);
    }

    #[test]
    fn state_comes_back_for_the_same_fleet_only_and_a_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptFleet::new(dir.path());
        let mut state = kept.read("one").unwrap();
        assert_eq!((state.fleet.as_str(), state.marks.epoch.as_ref()), ("one", None));
        state.marks.epoch = Some("e".to_owned());
        state
            .marks
            .plugins
            .insert("p".to_owned(), PluginMark { generation: 3, revision: 9, is_removed: false });
        kept.write(&state).unwrap();
        assert_eq!(kept.read("one").unwrap(), state);
        assert_eq!(kept.read("other").unwrap().marks, FleetMarks::default());
        let file = dir.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap().replace("\"generation\": 3", "\"generation\": 2");
        std::fs::write(&file, text).unwrap();
        assert!(kept.read("one").is_err());
    }
}
