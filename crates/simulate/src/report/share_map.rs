//! A picture of which workers requests went to, over time.

use std::fmt::Write;

use crate::report::sent_timeline::SentTimeline;

/// Rows and columns at most: with more, cells could not be seen.
const MOST_WORKERS: usize = 64;
const MOST_STEPS: usize = 60;
const WIDTH: f64 = 600.0;
const LEFT: f64 = 34.0;
const ROW: f64 = 12.0;

/// A picture with a row for each worker and time from left to right: the darker, the larger its share; half
/// dark is as much as the others. `None` if there is nothing to see, or too much.
pub(crate) fn share_map(timeline: &SentTimeline) -> Option<String> {
    let steps = timeline.sent.len();
    let workers = timeline.sent.first().map_or(0, Vec::len);
    if !(2..=MOST_WORKERS).contains(&workers) {
        return None;
    }
    let each = steps.div_ceil(MOST_STEPS);
    let columns = timeline.sent.chunks(each).map(|steps| column(steps, workers));
    let columns: Vec<Vec<f64>> = columns.collect();
    let height = ROW * as_f64(workers) + 18.0;
    let cell = (WIDTH - LEFT) / as_f64(columns.len());
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for worker in 0..workers {
        let y = ROW * as_f64(worker);
        // A string takes what is written.
        let _ =
            write!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{worker}</text>", LEFT - 4.0, y + 10.5);
        for (at, column) in columns.iter().enumerate() {
            let share = column.get(worker).copied().unwrap_or_default();
            let dark = (share * as_f64(workers) / 2.0).min(1.0);
            if dark > 0.0 {
                let (x, width, height) = (LEFT + cell * as_f64(at), cell + 0.2, ROW - 1.0);
                let _ = write!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"#2f81f7\" \
                     fill-opacity=\"{dark:.2}\"/>"
                );
            }
        }
    }
    let (end, bottom) = (timeline.step * as_f64(steps), height - 5.0);
    let _ = write!(
        out,
        "<text x=\"{LEFT}\" y=\"{bottom}\">0 s</text>\
         <text x=\"{WIDTH}\" y=\"{bottom}\" text-anchor=\"end\">{end} s</text></svg>"
    );
    Some(out)
}

/// The share of each worker in some steps together.
fn column(steps: &[Vec<u32>], workers: usize) -> Vec<f64> {
    let mut sums = vec![0.0; workers];
    for step in steps {
        sums.iter_mut().zip(step).for_each(|(sum, count)| *sum += f64::from(*count));
    }
    let all = sums.iter().sum::<f64>().max(1.0);
    sums.into_iter().map(|sum| sum / all).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_has_a_cell_for_each_worker_that_was_sent_something() {
        let mut timeline = SentTimeline::new(2);
        (0..30_u32).for_each(|second| timeline.add(u32::from(second == 4), f64::from(second)));
        let map = share_map(&timeline).unwrap();
        assert_eq!((map.matches("<rect").count(), map.matches("fill-opacity=\"1.00\"").count()), (30, 30));
        assert!(map.contains(">30 s</text>"), "{map}");
        timeline.add(0, 4.0);
        assert_eq!(share_map(&timeline).unwrap().matches("fill-opacity=\"0.50\"").count(), 2);
        assert_eq!((share_map(&SentTimeline::new(1)), share_map(&SentTimeline::new(2))), (None, None));
    }
}
