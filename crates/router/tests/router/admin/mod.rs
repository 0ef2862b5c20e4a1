//! The operations API, its command line, the watched directory and the state directory, over real
//! HTTP and with real processes.

mod api;

mod audit;
mod change_log;
mod changes;
mod command_faults;
mod command_line;
mod decisions;
mod description;
mod embedded;
mod files_and_pushes;
mod held;
mod overview;
mod pages;
mod policy_changes;
mod push;
mod refusals;
mod rollouts;
mod sessions;
mod signatures;
mod stand_ins;
mod state_dir;
mod strange_files;
mod watched_dir;
mod worker_commands;
