//! Numbers for operators: what is counted on the request path, and the page that shows it.
//!
//! One [`registry::Metrics`] is made at start and passed in. Counters and histograms are sharded
//! per thread and addressed by a position that is resolved once, so that counting on the request
//! path is one addition to a cache line of this thread. What is only known at the time of a
//! scrape (workers, plugins) is told by closures.
//!
//! Names, kinds, labels and help texts of all metrics stand in [`catalogue`], which the documents are
//! made from.
//!
//! Nothing here knows workers, plugins or HTTP.

mod counter;
mod delivery_counts;
mod histogram;
mod metric;
pub(crate) mod catalogue;
mod families;
mod process_numbers;
mod registry;

pub(crate) use crate::metrics::counter::CounterSet;
pub(crate) use crate::metrics::delivery_counts::DeliveryCounts;
pub(crate) use crate::metrics::families::Families;
pub(crate) use crate::metrics::histogram::{DurationHistogram, HistogramSnapshot};
pub use crate::metrics::metric::Metric;
pub use crate::metrics::registry::Metrics;
