//! What is reported about a worker's own load.

use serde::{Deserialize, Serialize};
use sgl_policy_abi::Column;

macro_rules! says {
    (worker) => {
        true
    };
    (router) => {
        false
    };
}

/// The columns that are in no report, as a pattern.
macro_rules! counted {
    () => {
        Column::Load
            | Column::PrefillLoad
            | Column::PrefillTokens
            | Column::UncachedTokens
            | Column::TokensInFlight
            | Column::PendingCost
            | Column::OldestPendingMs
            | Column::TtftEwma
            | Column::TpotEwma
    };
}

macro_rules! known {
    (i32, $value:expr) => {
        ($value >= 0).then_some($value)
    };
    (f32, $value:expr) => {
        $value.is_finite().then_some($value)
    };
}

/// A row for each column but those that the router counts itself:
/// `Variant => field: type as name in the API, by who says it;`. The build fails for a column without a
/// row.
///
/// What the router counts is in [`books`](crate::core::books), but for `Load`.
macro_rules! report {
    ($($(#[$meaning:meta])+ $column:ident => $field:ident: $number:ident as $shown:ident, by $who:ident;)+) => {
        /// What a worker says about its own load; -1 and NaN where unknown.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct WorkerReport {
            $($(#[$meaning])+ pub $field: $number,)+
        }

        impl WorkerReport {
            /// Nothing is known.
            pub const UNKNOWN: Self = Self {
                $($field: $number::from_le_bytes(Column::$column.unknown().to_le_bytes()),)+
            };

            /// The report with these bits in its columns; does not ask for what the router counts.
            pub fn from_bits(bits: impl Fn(Column) -> u32) -> Self {
                Self { $($field: $number::from_le_bytes(bits(Column::$column).to_le_bytes()),)+ }
            }

            /// The bits of a column; unknown for what the router counts, which is in no report.
            pub fn bits(&self, column: Column) -> u32 {
                match column {
                    counted!() => column.unknown(),
                    $(Column::$column => u32::from_le_bytes(self.$field.to_le_bytes()),)+
                }
            }

            /// True if the worker itself reports it, false for what the router counts or measures.
            pub fn is_said_by_worker(column: Column) -> bool {
                match column {
                    counted!() => false,
                    $(Column::$column => says!($who),)+
                }
            }

            /// True if the worker has said nothing of itself that is known.
            pub fn is_silent(&self) -> bool {
                $(!(says!($who) && known!($number, self.$field).is_some()) &&)+ true
            }

            /// What is known.
            pub fn known(&self) -> KnownReport {
                KnownReport { $($shown: known!($number, self.$field),)+ }
            }
        }

        /// What a worker said about itself; unknown values are null.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ReportView))]
        pub struct KnownReport {
            $($(#[$meaning])+ pub $shown: Option<$number>,)+
        }
    };
}

report! {
    /// Requests in its running batch.
    Running => running: i32 as running, by worker;
    /// Requests in its queue.
    Waiting => waiting: i32 as waiting, by worker;
    /// Prompt tokens that wait and are not cached.
    QueuedTokens => queued_tokens: i32 as queued_tokens, by worker;
    /// Share of the KV cache in use, 0.0 to 1.0.
    KvUsage => kv_usage: f32 as kv_usage, by worker;
    /// Generated tokens per second.
    Throughput => throughput: f32 as throughput, by worker;
    /// Time to first byte as the router measures it, milliseconds, moving average.
    LatencyEwma => latency_ewma: f32 as latency_ms, by router;
    /// Milliseconds since the worker reported; the router measures them.
    ReportAgeMs => report_age_ms: i32 as report_age_ms, by router;
    /// Requests in flight to it from the other routers of the fleet, as these say.
    LoadElsewhere => load_elsewhere: i32 as load_elsewhere, by router;
}

impl Default for WorkerReport {
    fn default() -> Self {
        Self::UNKNOWN
    }
}
