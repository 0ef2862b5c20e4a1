//! The columns: numbers that a policy may ask for of every worker.

/// The one table of columns. Calls the macro `$then` with all its rows:
/// `Variant(name): type = unknown, "meaning";`.
///
/// Everything that has a field, a method or a constant for each column is written by such a macro,
/// or matches over [`Column`] without a wildcard, so that a new row either arrives everywhere or
/// stops the build. The name is the one in manifests and cannot change.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_column {
    ($then:ident) => {
        $then! {
            Load(load): i32 = 0, "requests in flight from this router";
            Running(running): i32 = -1, "requests running as last reported";
            Waiting(waiting): i32 = -1, "requests queued as last reported";
            QueuedTokens(queued_tokens): i32 = -1, "uncached prompt tokens waiting";
            KvUsage(kv_usage): f32 = f32::NAN, "share of the KV cache in use, 0.0 to 1.0";
            Throughput(throughput): f32 = f32::NAN, "generated tokens per second";
            LatencyEwma(latency_ewma): f32 = f32::NAN, "time to first byte in milliseconds";
            ReportAgeMs(report_age_ms): i32 = -1, "age of what the worker reported in milliseconds";
            PrefillLoad(prefill_load): i32 = -1, "requests from this router without a first token";
            PrefillTokens(prefill_tokens): i32 = -1, "prompt tokens of those";
            UncachedTokens(uncached_tokens): i32 = -1, "the part of these that no cache was believed to hold";
            TokensInFlight(tokens_in_flight): i32 = -1, "prompt and generated tokens of all requests in flight from this router";
            PendingCost(pending_cost): f32 = f32::NAN, "sum of the costs of requests without a first token";
            OldestPendingMs(oldest_pending_ms): i32 = -1, "age of the oldest request without a first token in milliseconds";
            TtftEwma(ttft_ewma): f32 = f32::NAN, "time to first token in milliseconds";
            TpotEwma(tpot_ewma): f32 = f32::NAN, "time per generated token in milliseconds";
            LoadElsewhere(load_elsewhere): i32 = -1, "requests in flight from the other routers of the fleet";
        }
    };
}

/// What the four little-endian bytes of each worker are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnNumber {
    /// An integer, -1 where it is not known.
    I32,
    /// A float, NaN where it is not known.
    F32,
}

macro_rules! number {
    (i32) => {
        ColumnNumber::I32
    };
    (f32) => {
        ColumnNumber::F32
    };
}

macro_rules! column {
    ($($variant:ident($name:ident): $number:ident = $unknown:expr, $meaning:literal;)+) => {
        /// A number of every worker, in four little-endian bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        // Exhaustive on purpose: who matches over columns shall hear of a new one.
        pub enum Column {
            $(
                #[doc = concat!(
                    "`", stringify!($name), "`, ", stringify!($number), ", unknown is ",
                    stringify!($unknown), ": ", $meaning, "."
                )]
                $variant,
            )+
        }

        impl Column {
            /// Number of columns.
            pub const COUNT: usize = [$(stringify!($name)),+].len();

            /// All columns, each at its own number.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// Bytes per worker.
            pub const WIDTH: usize = 4;

            /// The name in manifests.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                }
            }

            /// What the numbers are.
            #[must_use]
            pub const fn number(self) -> ColumnNumber {
                match self {
                    $(Self::$variant => number!($number),)+
                }
            }

            /// The bits of a worker of which nothing is known.
            #[must_use]
            pub const fn unknown(self) -> u32 {
                match self {
                    $(Self::$variant => u32::from_le_bytes($number::to_le_bytes($unknown)),)+
                }
            }

            /// What it says of a worker.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }
        }
    };
}

for_each_column!(column);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_minus_one_or_nan_except_for_what_the_router_counts_itself() {
        for column in Column::ALL {
            let expected = match column.number() {
                ColumnNumber::I32 if column == Column::Load => 0,
                ColumnNumber::I32 => (-1_i32).cast_unsigned(),
                ColumnNumber::F32 => f32::NAN.to_bits(),
            };
            assert_eq!(column.unknown(), expected, "{}", column.name());
        }
    }

    #[test]
    fn column_stands_at_its_own_number() {
        assert!(Column::ALL.into_iter().enumerate().all(|(number, column)| column as usize == number));
    }
}
