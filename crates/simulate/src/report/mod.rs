//! What came of runs.

mod slo;
mod quantile_set;
mod sent_timeline;
mod request_groups;
mod index_sample;
mod run_report;
mod ledger;
mod seed_spread;
mod groups_over_seeds;
mod over_seeds;
mod capacity_found;
mod share_map;
mod text_table;
mod group_table;
mod comparison_table;
mod comparison_page;

pub use crate::report::capacity_found::{CapacityFound, CapacitySpread, capacity_json, capacity_table};
pub use crate::report::comparison_page::comparison_page;
pub use crate::report::comparison_table::{comparison_json, comparison_table};
pub use crate::report::groups_over_seeds::GroupOverSeeds;
pub use crate::report::index_sample::IndexSample;
pub(crate) use crate::report::index_sample::SAMPLES;
pub use crate::report::ledger::{EndedRequest, RunLedger};
pub use crate::report::over_seeds::{OverSeeds, over_seeds};
pub use crate::report::quantile_set::QuantileSet;
pub use crate::report::request_groups::GroupRun;
pub use crate::report::run_report::{RefusalCause, RunFacts, RunReport, WorkerRun};
pub use crate::report::seed_spread::SeedSpread;
pub use crate::report::sent_timeline::SentTimeline;
pub use crate::report::slo::Slo;
