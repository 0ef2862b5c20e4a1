//! What SGLang's `/get_load` says of a worker's queue.

use serde::Deserialize;

use sglang_router_rs::core::WorkerReport;

/// One data-parallel rank. Names differ between versions of SGLang; all of them are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rank {
    /// Running and waiting requests together.
    #[serde(alias = "num_total_reqs", alias = "load")]
    num_reqs: Option<i64>,
    num_running_reqs: Option<i64>,
    num_waiting_reqs: Option<i64>,
    #[serde(alias = "num_waiting_tokens", alias = "queued_tokens")]
    num_waiting_uncached_tokens: Option<i64>,
    #[serde(alias = "kv_usage")]
    token_usage: Option<f64>,
    #[serde(alias = "throughput")]
    gen_throughput: Option<f64>,
}

/// A list of ranks, one rank, or a list inside an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reported {
    Ranks(Vec<Rank>),
    Wrapped { loads: Vec<Rank> },
    One(Rank),
}

/// Reads an answer; the ranks are added up, their KV usage is averaged. `None` if it is nothing
/// of the kind.
pub(crate) fn read(body: &[u8]) -> Option<WorkerReport> {
    let ranks = match serde_json::from_slice(body).ok()? {
        Reported::Ranks(ranks) | Reported::Wrapped { loads: ranks } => ranks,
        Reported::One(rank) => vec![rank],
    };
    let difference = |rank: &Rank| Some(rank.num_reqs?.saturating_sub(rank.num_waiting_reqs.unwrap_or(0)));
    let running = |rank: &Rank| rank.num_running_reqs.or_else(|| difference(rank));
    let usage = mean(ranks.iter().map(|rank| rank.token_usage));
    Some(WorkerReport {
        running: total(ranks.iter().map(running)),
        waiting: total(ranks.iter().map(|rank| rank.num_waiting_reqs)),
        queued_tokens: total(ranks.iter().map(|rank| rank.num_waiting_uncached_tokens)),
        kv_usage: usage,
        throughput: sum(ranks.iter().map(|rank| rank.gen_throughput)),
        // Not for the worker to say.
        latency_ewma: f32::NAN,
        report_age_ms: -1,
    })
}

/// The sum, or -1 if nobody knows.
fn total(values: impl Iterator<Item = Option<i64>>) -> i32 {
    let sum = values.flatten().map(|value| value.max(0)).reduce(i64::saturating_add);
    sum.map_or(-1, |sum| i32::try_from(sum).unwrap_or(i32::MAX))
}

/// The sum, or NaN if nobody knows.
#[expect(clippy::cast_possible_truncation, reason = "half the digits are plenty for a gauge")]
fn sum(values: impl Iterator<Item = Option<f64>>) -> f32 {
    values.flatten().reduce(|a, b| a + b).map_or(f32::NAN, |sum| sum as f32)
}

/// The mean, or NaN if nobody knows.
fn mean(values: impl Iterator<Item = Option<f64>> + Clone) -> f32 {
    let count = u16::try_from(values.clone().flatten().count()).unwrap_or(u16::MAX);
    sum(values) / f32::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_added_up() {
        let report = read(
            br#"[{"dp_rank": 0, "num_reqs": 5, "num_waiting_reqs": 2, "num_tokens": 100, "token_usage": 0.5},
                 {"dp_rank": 1, "num_reqs": 1, "num_waiting_reqs": 0, "num_tokens": 10, "token_usage": 0.7}]"#,
        )
        .unwrap();
        assert_eq!((report.running, report.waiting, report.queued_tokens), (4, 2, -1));
        assert!((report.kv_usage - 0.6).abs() < 1e-6);
        assert!(report.throughput.is_nan() && report.latency_ewma.is_nan());
    }

    #[test]
    fn all_that_a_worker_can_say_of_itself_is_read() {
        let whole = br#"{"num_running_reqs": 1, "num_waiting_reqs": 1, "num_waiting_uncached_tokens": 1,
                         "token_usage": 0.5, "gen_throughput": 1.0}"#;
        let known = serde_json::to_value(read(whole).unwrap().known()).unwrap();
        let unknown = known.as_object().unwrap().iter().filter(|(_, value)| value.is_null());
        let unknown: Vec<&str> = unknown.map(|(name, _)| name.as_str()).collect();
        assert_eq!(unknown, ["latency_ms"], "what a worker says has a key in `Rank`, and in this answer");
    }

    #[test]
    fn other_forms_are_read_too() {
        let report = read(
            br#"{"loads": [{"num_running_reqs": 3, "num_waiting_uncached_tokens": 70, "gen_throughput": 9.5}]}"#,
        )
        .unwrap();
        assert_eq!((report.running, report.waiting, report.queued_tokens), (3, -1, 70));
        assert!((report.throughput - 9.5).abs() < 1e-6);
        assert_eq!(read(br#"{"load": 7}"#).unwrap().running, 7);
    }

    #[test]
    fn counts_beyond_all_bounds_do_no_harm() {
        let extremes = format!(
            r#"[{{"num_reqs": {min}, "num_waiting_reqs": {max}}}, {{"num_reqs": {max}, "num_waiting_reqs": {min}}}]"#,
            min = i64::MIN,
            max = i64::MAX
        );
        let report = read(extremes.as_bytes()).unwrap();
        assert_eq!((report.running, report.waiting), (i32::MAX, i32::MAX));
    }

    #[test]
    fn anything_else_is_no_report() {
        assert!(read(b"not json").is_none());
        assert!(read(br#"{"num_reqs": "many"}"#).is_none());
        assert!(read(br#"7"#).is_none());
    }
}
