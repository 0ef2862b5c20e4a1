//! Sources of workers: a file that is followed, names that are looked up, pods of Kubernetes.

mod views;
mod name_server;
mod pod_server;

mod files;
mod names;
mod pods;
