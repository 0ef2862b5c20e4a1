//! The rules: which keys must have signed a module of which origin.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::trust::{Require, TrustRule};
use crate::policies::wasm::load::trust::fault::{KeyFault, Refusal, TrustFault};
use crate::policies::wasm::load::trust::key::{CAN_VERIFY, PublicKey};
use crate::policies::wasm::load::trust::keyring;
use crate::policies::wasm::load::trust::origin::{ModuleBytes, Origin};
use crate::policies::wasm::load::trust::verification::{fault, held, list, named, signers};
use crate::types::shown_path;

/// Who must have signed which modules. Without rules, nobody must.
///
/// # Which rules count
///
/// For a file, the rules of the deepest directories that it is in. Three paths count: the path as named,
/// that path with the links to its directory resolved, and the file's real place. If they lead to
/// several rules, all must be met: neither a link out of a directory nor one into it gets a module past
/// a rule. For a module of a registry, the rule of the longest name of a registry or repository that it
/// is below. The rule without either counts if they lead to none, and for modules that are sent. None
/// counts for a module that is part of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    rules: Vec<TrustRule>,
}

/// What the check found out about a module's signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// The trusted keys that signed it, among the keys of its rules.
    pub signers: Vec<PublicKey>,
    /// Key ids that its signatures name; not verified.
    pub claimed: Vec<String>,
}

impl TrustPolicy {
    /// Rules, in the order of the configuration.
    pub fn new(rules: Vec<TrustRule>) -> Self {
        Self { rules }
    }

    /// Reads every key once, to find faults early. Returns the number of keys.
    ///
    /// # Errors
    ///
    /// [`KeyFault`], the first.
    pub fn check_keys(&self) -> Result<usize, KeyFault> {
        let count = |(at, rule): (usize, &TrustRule)| match keys_of(rule) {
            Ok(keys) => Ok(keys.len()),
            Err(fault) => Err(KeyFault { place: format!("{} of {}", fault.place, label(at, rule)), ..fault }),
        };
        self.rules.iter().enumerate().map(count).sum()
    }

    /// Says who vouches for a module.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the first rule that it does not meet.
    pub fn check(&self, module: &ModuleBytes) -> Result<Vouched, Refusal> {
        let held = held(module);
        let mut vouched = Vouched::default();
        if let Ok(held) = &held {
            vouched.claimed = named(held);
        }
        for (at, rule) in self.rules_for(&module.origin) {
            let refuse = |fault| refuse(at, rule, fault);
            let keys = keys_of(rule).map_err(|fault| refuse(fault.into()))?;
            let signers = match (&held, rule.require) {
                (Ok(held), _) => signers(held, &keys),
                (Err(_), Require::Nothing) => Vec::new(),
                (Err(fault), _) => return Err(refuse(fault.clone())),
            };
            if !is_enough(rule.require, &keys, &signers) {
                let held = held.as_deref().unwrap_or_default();
                return Err(refuse(fault(rule, &module.origin, &keys, held, &signers)));
            }
            vouched.signers.extend(signers.into_iter().cloned());
        }
        vouched.signers.dedup();
        Ok(vouched)
    }

    /// Checks whether the signers of a loaded module would still be enough: keys and rules may have
    /// changed.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the first rule that they do not meet.
    pub(crate) fn check_again(&self, origin: &Origin, signed: &[PublicKey]) -> Result<(), Refusal> {
        for (at, rule) in self.rules_for(origin) {
            let keys = keys_of(rule).map_err(|fault| refuse(at, rule, fault.into()))?;
            let signers: Vec<&PublicKey> = keys.iter().filter(|key| signed.contains(key)).collect();
            if !is_enough(rule.require, &keys, &signers) {
                let expected = list(&keys);
                let looked = "who signed the module that serves".to_owned();
                let fault = match signed {
                    [] => TrustFault::Unsigned { looked, expected },
                    signed => TrustFault::UnknownKey { found: format!("key {}", list(signed)), expected },
                };
                return Err(refuse(at, rule, fault));
            }
        }
        Ok(())
    }

    /// The rules that count for a module, with their places; see the type.
    fn rules_for(&self, origin: &Origin) -> Vec<(usize, &TrustRule)> {
        let mut places = BTreeSet::new();
        match origin {
            Origin::File { path } => {
                places.extend(paths_of(path).iter().filter_map(|path| self.deepest(path)))
            }
            Origin::Registry { reference } => places.extend(self.nearest(reference)),
            Origin::Push => {}
            Origin::Embedded => return Vec::new(),
        }
        if places.is_empty() {
            places.extend(self.rules.iter().position(|rule| rule.is_for_everything_else()));
        }
        places.into_iter().filter_map(|at| Some((at, self.rules.get(at)?))).collect()
    }

    /// The rule of the longest name of a registry or repository that a reference begins with; the first of
    /// two for one name.
    fn nearest(&self, reference: &str) -> Option<usize> {
        let named = reference.strip_prefix("oci://").unwrap_or(reference);
        let depth = |rule: &TrustRule| {
            let name = rule.registry.as_deref()?.trim_end_matches('/');
            let rest = named.get(..name.len()).filter(|found| found.eq_ignore_ascii_case(name));
            let rest = rest.and_then(|_| named.get(name.len()..))?;
            // A host ends before its repositories, a repository before its tag or digest.
            let ends = if name.contains('/') { &['/', ':', '@'][..] } else { &['/'] };
            rest.starts_with(ends).then_some(name.len())
        };
        let found = self.rules.iter().enumerate().filter_map(|(at, rule)| Some((depth(rule)?, at)));
        found.min_by_key(|(depth, at)| (std::cmp::Reverse(*depth), *at)).map(|(_, at)| at)
    }

    /// The rule of the deepest directory that holds the path; the first of two for one directory.
    fn deepest(&self, path: &Path) -> Option<usize> {
        let depth = |rule: &TrustRule| {
            let dir = rule.dir.as_ref()?;
            // By any name: a rule binds the directory itself.
            let names = [std::path::absolute(dir).ok(), dir.canonicalize().ok()];
            let held = names.into_iter().flatten().filter(|dir| path.starts_with(dir));
            held.map(|dir| dir.components().count()).max()
        };
        let found = self.rules.iter().enumerate().filter_map(|(at, rule)| Some((depth(rule)?, at)));
        found.min_by_key(|(depth, at)| (std::cmp::Reverse(*depth), *at)).map(|(_, at)| at)
    }
}

/// A file's path as named, with the links to its directory resolved, and its real place.
fn paths_of(path: &Path) -> Vec<PathBuf> {
    let named = std::path::absolute(path).ok();
    let in_dir =
        named.as_ref().and_then(|path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?)));
    [named, in_dir, path.canonicalize().ok()].into_iter().flatten().collect()
}

fn keys_of(rule: &TrustRule) -> Result<Vec<PublicKey>, KeyFault> {
    // No signature is required, and this build cannot verify any.
    if rule.require == Require::Nothing && !CAN_VERIFY {
        return Ok(Vec::new());
    }
    let keys = keyring::read(&rule.keys)?;
    if keys.is_empty() && rule.require != Require::Nothing {
        let reason = "the rule has none; name at least one public key".to_owned();
        return Err(KeyFault { place: "`keys`".to_owned(), reason });
    }
    Ok(keys)
}

fn is_enough(require: Require, keys: &[PublicKey], signers: &[&PublicKey]) -> bool {
    match require {
        Require::Nothing => true,
        Require::AnyOfKeys => !signers.is_empty(),
        Require::AllOfKeys => signers.len() == keys.len(),
    }
}

fn refuse(at: usize, rule: &TrustRule, fault: TrustFault) -> Refusal {
    Refusal { rule: label(at, rule), fault }
}

/// A rule, as its place in the configuration and what it says.
fn label(at: usize, rule: &TrustRule) -> String {
    let registry = || rule.registry.as_ref().map(|name| format!("the registry {name:?}"));
    let of = rule.dir.as_ref().map(|dir| shown_path(dir)).or_else(registry);
    let of = of.unwrap_or_else(|| "everything else".to_owned());
    format!("trust[{at}] (require = \"{}\", for {of})", rule.require)
}
