//! Sources of workers: a file that is followed, names that are looked up, pods of Kubernetes.

mod views;
pub(crate) mod name_server;
pub(crate) mod pod_server;

mod files;
mod names;
mod pods;
