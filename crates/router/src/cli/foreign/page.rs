//! The tables of `docs/migration.md`, from the lists that are parsed by.

use crate::cli::foreign::flag::{FlagFate, FlagOwner, ForeignFlag};
use crate::cli::foreign::list::all;
use crate::config::other_names;
use crate::config::other_names::OtherPolicy;

fn owner(flag: &ForeignFlag) -> &'static str {
    match flag.owner {
        FlagOwner::Both => "both",
        FlagOwner::Sglang => "sglang-router",
        FlagOwner::Vllm => "vllm-router",
        FlagOwner::VllmBinary => "vllm-router's own binary",
        FlagOwner::SglangDocuments => "documents of sglang-router",
        FlagOwner::Smg => "smg",
    }
}

fn fate(flag: &ForeignFlag) -> String {
    match flag.fate {
        FlagFate::Same => "same".to_owned(),
        FlagFate::Alias(target) => format!("as `--{target}`"),
        FlagFate::Means => "accepted".to_owned(),
        FlagFate::Ignored => "accepted with a warning".to_owned(),
        FlagFate::Refused => "**refused**".to_owned(),
    }
}

/// What becomes of every flag.
pub fn flag_table() -> String {
    let row = |flag: &ForeignFlag| {
        let note = if flag.note.is_empty() { String::new() } else { format!("{} ", flag.note) };
        format!("| `--{}` | {} | {} | {note}|\n", flag.name, owner(flag), fate(flag))
    };
    let rows: String = all().map(row).collect();
    format!("| flag | of | here | |\n|---|---|---|---|\n{rows}")
}

/// The flags that are accepted and whose default is another one.
pub fn changed_defaults() -> String {
    let row = |flag: &ForeignFlag| {
        flag.defaults.map(|(there, here)| format!("| `--{}` | {there} | {here} |\n", flag.name))
    };
    let rows: String = all().filter_map(row).collect();
    format!("| flag | there | here |\n|---|---|---|\n{rows}")
}

/// Names of policies that mean one of another name.
pub fn policy_table() -> String {
    let row = |other: &OtherPolicy| format!("| `{}` | `{}` | {} |\n", other.name, other.target(), other.note);
    let rows: String = other_names::ALL.iter().map(row).collect();
    format!("| name there | policy here | |\n|---|---|---|\n{rows}")
}
