//! Requests to come: when, and which prompts begin alike.

mod requests;
mod recorded;
mod schedule;
mod prompt_text;
mod prompt_blocks;

pub use crate::workload::prompt_blocks::PromptBlocks;
pub use crate::workload::prompt_text::PromptText;
pub use crate::workload::requests::{AskedRequest, Workload};
pub use crate::workload::schedule::ArrivalTimes;
