//! Sources of workers: a file, names, pods. They come and go by what these say.
//!
//! ```text
//! worker_file ┐
//! dns_name    ┼─ list, offered, gone, failed ─▶ membership ─ add, change, set_ready, retire ─▶ Backends
//! pods        ┘
//! ```
//!
//! `membership` knows no file and no network; those who ask know nothing of the fleet.

mod offer;
mod source_member;
mod scope;
mod membership;
mod worker_file;
mod dns_answer;
mod dns_name;
mod pod_offer;
mod api_pace;
mod pod_api;
mod pods;
mod source_board;
mod source_look;
mod start;
#[cfg(test)]
mod membership_cases;

pub(crate) use crate::sources::source_board::SourceBoard;
pub(crate) use crate::sources::source_look::{SourceLook, look_at_all};
pub(crate) use crate::sources::start::start;
