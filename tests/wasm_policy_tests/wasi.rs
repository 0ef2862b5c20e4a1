//! Imports of WASI preview 1 for guests, as text.

/// Signatures of the functions that guests here import, each as `$<name>`.
const SIGNATURES: [(&str, &str); 22] = [
    ("args_get", "i32 i32"),
    ("args_sizes_get", "i32 i32"),
    ("clock_res_get", "i32 i32"),
    ("clock_time_get", "i32 i64 i32"),
    ("environ_get", "i32 i32"),
    ("environ_sizes_get", "i32 i32"),
    ("fd_close", "i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_prestat_dir_name", "i32 i32 i32"),
    ("fd_prestat_get", "i32 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_readlink", "i32 i32 i32 i32 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("proc_exit", "i32"),
    ("random_get", "i32 i32"),
    ("sched_yield", ""),
];

/// The import fields for these functions.
pub(crate) fn imports(names: &[&str]) -> String {
    let field = |name: &&str| {
        let known = SIGNATURES.iter().find(|(known, _)| known == name);
        let parameters = known.unwrap_or_else(|| panic!("{name} is not listed")).1;
        let result = if *name == "proc_exit" { "" } else { "(result i32)" };
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {parameters}) {result}))"#)
    };
    names.iter().map(field).collect()
}

/// The names, as a configuration has them.
pub(crate) fn allowed(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
