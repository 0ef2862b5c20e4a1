//! Names that policies have in other routers.

use serde_json::Value;

/// What a name of another router is here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OtherKind {
    /// A built-in policy.
    BuiltIn(&'static str),
    /// An embedded module, under the name of the other router, with these settings.
    Embedded {
        /// The module.
        module: &'static str,
        /// Its settings, before those of the configuration.
        settings: &'static [(&'static str, u64)],
    },
}

/// A policy's name in another router. A plugin that has it wins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OtherPolicy {
    /// The name there.
    pub(crate) name: &'static str,
    pub(crate) kind: OtherKind,
    /// What is alike and what is not.
    pub(crate) note: &'static str,
}

impl OtherPolicy {
    /// The policy here.
    pub(crate) fn target(&self) -> &'static str {
        match self.kind {
            OtherKind::BuiltIn(name) => name,
            OtherKind::Embedded { module, .. } => module,
        }
    }

    /// Settings of its module.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (String, Value)> {
        let settings = match self.kind {
            OtherKind::BuiltIn(_) => &[],
            OtherKind::Embedded { settings, .. } => settings,
        };
        settings.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
    }
}

/// All of them.
pub(crate) const ALL: [OtherPolicy; 4] = [
    OtherPolicy {
        name: "manual",
        kind: OtherKind::Embedded { module: "sticky_least_loaded", settings: &[("idle_secs", 4 * 3600)] },
        note: "a key (`x-smg-routing-key`) stays at its worker until it was idle for four hours \
               (`--max-idle-secs`), and goes elsewhere only if that cannot serve; a new one goes to the worker \
               with the fewest keys; a request without a key to the least loaded worker (there: to any)",
    },
    OtherPolicy {
        name: "consistent_hashing",
        kind: OtherKind::BuiltIn("consistent_hash"),
        note: "by `x-smg-routing-key` as there; without one by the prompt (there: any worker)",
    },
    OtherPolicy {
        name: "rendezvous_hash",
        kind: OtherKind::BuiltIn("consistent_hash"),
        note: "another hash with the same promise: a key stays at its worker while that is there",
    },
    OtherPolicy {
        name: "prefix_hash",
        kind: OtherKind::Embedded { module: "prefix_affinity", settings: &[] },
        note: "by a prompt's beginning, and elsewhere where its worker is overloaded",
    },
];

/// What does here what a policy of another router does there, where none is the same.
pub(crate) fn instead_of(name: &str) -> Option<&'static str> {
    (name == "bucket").then_some("token_pools, which keeps short and long requests apart")
}

/// What this name is in another router.
pub(crate) fn find(name: &str) -> Option<&'static OtherPolicy> {
    ALL.iter().find(|other| other.name == name)
}
