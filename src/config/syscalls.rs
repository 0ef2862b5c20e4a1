//! The system calls that a plugin can be allowed: the functions of WASI preview 1.

/// True if this build has system calls at all.
pub(crate) const AVAILABLE: bool = cfg!(feature = "wasi");

/// The message about system calls in a build without them.
pub(crate) const MISSING: &str =
    "this build has no system calls (WASI): switch on the feature `wasi` of sglang_router_rs";

/// All functions of `wasi_snapshot_preview1` that can be allowed.
pub const KNOWN_SYSCALLS: [&str; 41] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// Why a function is never allowed, if it is not.
pub(crate) fn forbidden(name: &str) -> Option<&'static str> {
    if name.starts_with("sock_") {
        return Some("plugins have no network");
    }
    (name == "proc_raise").then_some("a plugin may not send signals to the router")
}

/// True if the function works on files.
pub(crate) fn is_file_function(name: &str) -> bool {
    name.starts_with("path_")
}

/// The known name that is most like an unknown one, for an error message.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let shared = |known: &&str| known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    KNOWN_SYSCALLS.iter().copied().max_by_key(|known| shared(known)).filter(|known| shared(known) >= 3)
}
