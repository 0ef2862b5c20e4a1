//! `sgl-router calibrate` as a process, on simulated workers.

mod command;
