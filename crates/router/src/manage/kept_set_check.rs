//! All interleavings of two pushes, an unload and a record by itself, with a crash after each write
//! to the disk, driven through the real [`KeptSet`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::manage::kept_plugin::{BadFile, KeptPlugin};
use crate::manage::kept_set::{Change, Disk, KeptSet, PluginSnapshot};
use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};

/// A plugin of the configuration, which is never kept.
const OF_FLAGS: (&str, &str) = ("flags", "X");
/// What was kept before.
const BEFORE: &str = "before";

type KeptDigests = BTreeMap<String, String>;

/// The disk as found after a crash.
#[derive(Clone, Debug, Default, PartialEq)]
struct FoundDisk {
    modules: BTreeSet<String>,
    list: KeptDigests,
}

/// A disk, and what it was after each write.
#[derive(Clone, Debug, Default)]
struct FakeDisk {
    now: RefCell<FoundDisk>,
    moments: RefCell<Vec<FoundDisk>>,
}

impl FakeDisk {
    fn change(&self, change: impl FnOnce(&mut FoundDisk)) {
        change(&mut self.now.borrow_mut());
        self.moments.borrow_mut().push(self.now.borrow().clone());
    }
}

impl Disk for FakeDisk {
    fn write_module(&self, digest: &str, _: &[u8]) -> Result<(), BadFile> {
        self.change(|found| found.modules.extend([digest.to_owned()]));
        Ok(())
    }

    fn has_module(&self, digest: &str) -> bool {
        self.now.borrow().modules.contains(digest)
    }

    fn removable(&self) -> Vec<String> {
        self.now.borrow().modules.iter().cloned().collect()
    }

    fn remove_module(&self, digest: &str) {
        self.change(|found| found.modules.retain(|module| module != digest));
    }

    fn write_list(&self, plugins: &BTreeMap<String, KeptPlugin>) -> Result<(), BadFile> {
        let list = plugins.iter().map(|(name, plugin)| (name.clone(), plugin.digest.clone())).collect();
        self.change(|found| found.list = list);
        Ok(())
    }
}

fn plugin(name: &str, digest: &str) -> KeptPlugin {
    let config = WasmPolicyConfig::new(name, "m.wasm");
    let options = PluginOptions::default();
    KeptPlugin { digest: digest.to_owned(), config, options, origin: None, signature: None }
}

/// What an operator asks for, or nobody.
#[derive(Clone, Copy, Debug)]
enum Job {
    Push { name: &'static str, digest: &'static str, refused: bool },
    Unload { name: &'static str },
    ByItself,
}

impl Job {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Push { name, .. } | Self::Unload { name } => Some(name),
            Self::ByItself => None,
        }
    }

    fn steps(self) -> usize {
        match self {
            Self::Push { .. } => 3,
            Self::Unload { .. } => 2,
            Self::ByItself => 1,
        }
    }
}

/// A router and its disk.
#[derive(Clone, Debug)]
struct World {
    set: KeptSet,
    disk: FakeDisk,
    serving: KeptDigests,
    /// What a rollback would bring back.
    previous: BTreeSet<String>,
    /// What the list may say for each name, given the answers so far and the jobs under way.
    allowed: BTreeMap<String, BTreeSet<Option<String>>>,
}

impl World {
    fn new(before: &str) -> Self {
        let disk = FakeDisk::default();
        disk.now.borrow_mut().modules.insert(before.to_owned());
        disk.now.borrow_mut().list.insert(BEFORE.to_owned(), before.to_owned());
        let serving = [(BEFORE, before), OF_FLAGS].map(|(name, digest)| (name.to_owned(), digest.to_owned()));
        Self {
            set: KeptSet::new(vec![plugin(BEFORE, before)]),
            disk,
            serving: serving.into(),
            previous: BTreeSet::new(),
            allowed: [(BEFORE.to_owned(), [Some(before.to_owned())].into())].into(),
        }
    }

    fn look(&self) -> PluginSnapshot {
        let serving = self.serving.iter().map(|(name, digest)| plugin(name, digest)).collect();
        let alive = self.serving.values().chain(&self.previous).cloned().collect();
        PluginSnapshot { serving, alive }
    }

    fn allow(&mut self, name: &str, also: Option<String>) {
        let none = || [None].into();
        self.allowed.entry(name.to_owned()).or_insert_with(none).insert(also);
    }

    /// A job was answered: from now on its result counts.
    fn answer(&mut self, name: &str) {
        let serves = self.serving.get(name).cloned();
        self.allowed.insert(name.to_owned(), [serves].into());
    }

    fn record(&mut self, change: Change) {
        let snapshot = self.look();
        self.set.record(&self.disk, change, snapshot).expect("a disk that works");
    }

    /// One step of a job. Each is atomic: the registry and the set have their locks.
    fn step(&mut self, job: Job, step: usize) {
        match (job, step) {
            (Job::ByItself, _) => self.record(Change::ByItself),
            (Job::Push { name, digest, .. }, 0) => {
                self.set.arrive(&self.disk, name, digest, &[]).expect("a disk that works");
            }
            (Job::Push { refused: true, .. }, 1) => {}
            (Job::Push { name, digest, .. }, 1) => {
                self.allow(name, Some(digest.to_owned()));
                let replaced = self.serving.insert(name.to_owned(), digest.to_owned());
                self.previous.extend(replaced);
            }
            (Job::Push { name, digest, refused }, _) => {
                let (own, digest) = (name.to_owned(), digest.to_owned());
                self.record(Change::Arrived { name: own, digest, loaded: !refused });
            }
            (Job::Unload { name }, 0) => {
                self.allow(name, None);
                self.serving.remove(name);
            }
            (Job::Unload { name }, _) => self.record(Change::Unloaded { name: name.to_owned() }),
        }
    }

    /// What must hold whenever the process is killed.
    fn check(&self, found: &FoundDisk, trace: &[(usize, usize)]) {
        for (name, digest) in &found.list {
            assert!(found.modules.contains(digest), "{trace:?}: listed `{name}` has no module: {found:?}");
            assert!(self.allowed.contains_key(name), "{trace:?}: `{name}` was never pushed: {found:?}");
        }
        for (name, allowed) in &self.allowed {
            let kept = found.list.get(name).cloned();
            assert!(allowed.contains(&kept), "{trace:?}: `{name}` is {kept:?}, not of {allowed:?}");
        }
        for (name, digest) in self.serving.iter().filter(|(name, _)| *name != OF_FLAGS.0) {
            assert!(found.modules.contains(digest), "{trace:?}: `{name}` serves and is deleted: {found:?}");
        }
    }
}

/// Goes through all interleavings from here, except from states seen before.
fn explore(
    world: &World,
    jobs: &[Job],
    at: &[usize],
    trace: &mut Vec<(usize, usize)>,
    seen: &mut BTreeSet<String>,
) {
    if !seen.insert(format!("{at:?} {world:?}")) {
        return;
    }
    let done = |position: usize| at[position] >= jobs[position].steps();
    if (0..jobs.len()).all(done) {
        let found = world.disk.now.borrow().clone();
        let mut expected = world.serving.clone();
        expected.remove(OF_FLAGS.0);
        assert_eq!(found.list, expected, "{trace:?}");
        let alive = world.look().alive;
        assert!(found.modules.is_subset(&alive), "{trace:?}: {found:?} keeps more than {alive:?}");
        return;
    }
    for position in (0..jobs.len()).filter(|position| !done(*position)) {
        // Jobs of one name take turns.
        let is_held = |other: usize| {
            other != position
                && jobs[other].name().is_some()
                && jobs[other].name() == jobs[position].name()
                && (1..jobs[other].steps()).contains(&at[other])
        };
        if (0..jobs.len()).any(is_held) {
            continue;
        }
        let (mut next, mut then) = (world.clone(), at.to_vec());
        trace.push((position, at[position]));
        next.step(jobs[position], at[position]);
        then[position] += 1;
        for moment in next.disk.moments.take() {
            next.check(&moment, trace);
        }
        if let (true, Some(name)) = (then[position] == jobs[position].steps(), jobs[position].name()) {
            next.answer(name);
        }
        next.check(&next.disk.now.borrow().clone(), trace);
        explore(&next, jobs, &then, trace, seen);
        trace.pop();
    }
}

#[test]
fn nothing_is_lost_or_kept_wrongly_in_any_interleaving_with_any_crash() {
    let mut states = 0;
    for (second, digest) in [("b", "X"), ("b", "Y"), ("a", "Y")] {
        for refused in [[false, false], [true, false], [false, true]] {
            for before in ["X", "Z"] {
                for unloaded in ["a", BEFORE] {
                    let jobs = [
                        Job::Push { name: "a", digest: "X", refused: refused[0] },
                        Job::Push { name: second, digest, refused: refused[1] },
                        Job::Unload { name: unloaded },
                        Job::ByItself,
                    ];
                    let mut seen = BTreeSet::new();
                    explore(&World::new(before), &jobs, &[0; 4], &mut Vec::new(), &mut seen);
                    states += seen.len();
                }
            }
        }
    }
    assert!(states > 2000, "it was gone through: {states} states");
}
