//! What a module has that looks useful but that the host never uses, or what it lacks and probably
//! needs. These are no faults: loading the module logs a line for each.

use sgl_policy_abi::{Concurrency, Input, Manifest, Wire, export};

use crate::types::shown;

/// Names that an author may give to an optional export by mistake, in lower case without separators, and
/// the right name.
const LIKELY: [(&str, &str); 25] = [
    ("selectworkerpair", export::SELECT_WORKER_PAIR),
    ("selectworkerpairs", export::SELECT_WORKER_PAIR),
    ("selectworkerspair", export::SELECT_WORKER_PAIR),
    ("selectpair", export::SELECT_WORKER_PAIR),
    ("selectpairs", export::SELECT_WORKER_PAIR),
    ("onworkers", export::ON_WORKERS),
    ("onworker", export::ON_WORKERS),
    ("onworkerschange", export::ON_WORKERS),
    ("onworkerschanged", export::ON_WORKERS),
    ("onfirsttoken", export::ON_FIRST_TOKEN),
    ("onfirsttokens", export::ON_FIRST_TOKEN),
    ("onfirstbyte", export::ON_FIRST_TOKEN),
    ("onfirstevent", export::ON_FIRST_TOKEN),
    ("oncomplete", export::ON_COMPLETE),
    ("oncompleted", export::ON_COMPLETE),
    ("oncompletion", export::ON_COMPLETE),
    ("oncompletions", export::ON_COMPLETE),
    ("onrequestcomplete", export::ON_COMPLETE),
    ("onsessionend", export::ON_SESSION_END),
    ("onsessionends", export::ON_SESSION_END),
    ("onsessionended", export::ON_SESSION_END),
    ("onsessionfinished", export::ON_SESSION_END),
    ("savestate", export::SAVE_STATE),
    ("restorestate", export::RESTORE_STATE),
    ("loadstate", export::RESTORE_STATE),
];

/// A line for each.
pub(crate) fn of<'a>(exports: impl Iterator<Item = &'a str> + Clone, manifest: &Manifest) -> Vec<String> {
    let mut lines: Vec<String> = exports.clone().filter_map(misnamed).collect();
    let has = |name: &str| exports.clone().any(|export| export == name);
    let keeps = has(export::SAVE_STATE) || has(export::RESTORE_STATE);
    if keeps && manifest.concurrency != Concurrency::Serial {
        lines.push(
            "it exports `save_state` or `restore_state`, but its manifest does not say that it is serial: the host \
             never calls them"
                .to_owned(),
        );
    }
    if manifest.wire == Wire::Columns && !manifest.inputs.contains(&Input::Healthy) {
        lines.push(
            "its manifest does not list the input `healthy`: it cannot know who may be chosen, and choosing \
             anybody else is a failure"
                .to_owned(),
        );
    }
    lines
}

fn misnamed(name: &str) -> Option<String> {
    let plain: String = name.chars().filter(|c| c.is_ascii_alphabetic()).collect();
    let plain = plain.to_ascii_lowercase();
    let meant = LIKELY.iter().find(|(likely, meant)| *likely == plain && *meant != name)?.1;
    Some(format!("it exports `{}`, which the host never calls; the ABI's name is `{meant}`", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(inputs: &[Input], concurrency: Concurrency) -> Manifest {
        Manifest { wire: Wire::Columns, inputs: inputs.to_vec(), concurrency, ..Manifest::default() }
    }

    fn lines(exports: &[&str], manifest: &Manifest) -> Vec<String> {
        of(exports.iter().copied(), manifest)
    }

    #[test]
    fn what_the_host_uses_is_no_oversight() {
        let all = [
            "memory",
            "alloc",
            "init",
            "select_worker",
            "select_worker_pair",
            "on_workers",
            "on_first_token",
            "on_complete",
            "on_session_end",
        ];
        assert_eq!(lines(&all, &Manifest::default()), [""; 0]);
        let serial = columns(&[Input::Healthy], Concurrency::Serial);
        assert_eq!(lines(&["save_state", "restore_state", "helper", "__data_end"], &serial), [""; 0]);
    }

    #[test]
    fn exports_that_are_nearly_hooks_are_named() {
        let names = ["onComplete", "select_pair", "on_worker", "SaveState", "onFirstTokens"];
        let found = lines(&names, &Manifest::default());
        for (line, (name, meant)) in found.iter().zip(names.iter().zip([
            "on_complete",
            "select_worker_pair",
            "on_workers",
            "save_state",
            "on_first_token",
        ])) {
            assert!(line.contains(&format!("`{name}`")) && line.ends_with(&format!("`{meant}`")), "{line}");
        }
        assert_eq!(found.len(), names.len());
    }

    #[test]
    fn state_that_is_never_carried_over_and_blind_choices_are_named() {
        let parallel = columns(&[Input::Healthy], Concurrency::Parallel);
        assert!(lines(&["save_state", "restore_state"], &parallel)[0].contains("serial"));
        assert!(lines(&["restore_state"], &parallel)[0].contains("serial"));
        let blind = columns(&[Input::Load], Concurrency::Parallel);
        assert!(lines(&[], &blind)[0].contains("`healthy`"));
    }
}
