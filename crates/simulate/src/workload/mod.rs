//! Requests to come: when, and which prompts begin alike.

mod header_mix;
mod request_traits;
mod requests;
mod recorded;
mod amount;
mod generated_load;
mod workloads;
mod schedule;
mod prompt_text;
mod prompt_blocks;

pub use crate::workload::amount::DrawnAmount;
pub use crate::workload::generated_load::{ArrivalPattern, GeneratedLoad, GeneratorError};
pub(crate) use crate::workload::header_mix::SESSION_HEADER;
pub use crate::workload::header_mix::{HeaderMix, MAX_HEADER_VALUES};
pub use crate::workload::prompt_blocks::PromptBlocks;
pub use crate::workload::prompt_text::PromptText;
pub use crate::workload::recorded::too_short_note;
pub use crate::workload::request_traits::{AnswerLimit, RequestTraits};
pub use crate::workload::requests::{AskedRequest, SessionTurn, Workload};
pub use crate::workload::schedule::ArrivalTimes;
pub use crate::workload::workloads::Workloads;
