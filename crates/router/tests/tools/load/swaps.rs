//! Swaps while requests flow.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sgl_testkit::waits::soon;
use sgl_tools::load::{
    Pace, Plan, RunControl, RunInfo, Summary, SwapPlan, Swapper, Swapping, html_page, run, text_table,
};

use crate::load::plans::{plan, sim, target};

/// Refuses the second swap, and ends the run with the third.
#[derive(Debug, Default)]
struct Scripted {
    asked: Mutex<Vec<usize>>,
    control: RunControl,
}

impl Swapper for Scripted {
    fn swap(&self, module: usize) -> Swapping<'_> {
        Box::pin(async move {
            let mut asked = self.asked.lock();
            asked.push(module);
            match asked.len() {
                2 => Err("the module is no module".to_owned()),
                3 => {
                    self.control.stop();
                    Ok(3)
                }
                number => Ok(number as u64),
            }
        })
    }
}

fn swapping(url: &str) -> Plan {
    let modules = vec!["a.wasm".to_owned(), "b.wasm".to_owned()];
    let every = Duration::from_millis(5);
    Plan { swaps: Some(SwapPlan { every, target: None, modules }), ..plan(url, u64::MAX) }
}

#[tokio::test]
async fn modules_take_turns_and_every_swap_is_marked_in_all_reports() {
    let worker = sim("w").await;
    let plan = swapping(&worker.url());
    let swapper = Arc::new(Scripted::default());
    let control = swapper.control.clone();
    let as_swapper: Arc<dyn Swapper> = Arc::clone(&swapper) as Arc<dyn Swapper>;
    let outcome = soon(run(&plan, &control, Some(as_swapper))).await.unwrap();
    assert_eq!(*swapper.asked.lock(), [0, 1, 0]);
    assert_eq!(control.counts().swaps, 3);
    let marks = &outcome.targets[0].rounds[0].swaps;
    assert!(marks.windows(2).all(|pair| pair[0].at < pair[1].at), "{marks:?}");
    assert!(marks[0].at >= Duration::from_millis(5), "{marks:?}");
    let summary = Summary::new(&plan, &outcome, RunInfo::default());
    let json: serde_json::Value = serde_json::from_str(&summary.to_json()).unwrap();
    let told: Vec<(&str, Option<u64>, Option<&str>)> = json["targets"][0]["rounds"][0]["swaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|swap| (swap["module"].as_str().unwrap(), swap["generation"].as_u64(), swap["error"].as_str()))
        .collect();
    let refusal = Some("the module is no module");
    assert_eq!(told, [("a.wasm", Some(1), None), ("b.wasm", None, refusal), ("a.wasm", Some(3), None)]);
    let page = html_page(&summary);
    // In the plot of the throughput and in that of the longest answers.
    assert_eq!(page.matches(r#"<line class="swap""#).count(), 4);
    assert_eq!(page.matches(r#"<line class="refused""#).count(), 2);
    assert!(page.contains("a.wasm: generation 3"));
    let table = text_table(&summary);
    assert!(table.contains("swaps: 2 made") && table.contains("1 refused"), "{table}");
    assert!(table.contains("the first refusal: the module is no module"), "{table}");
}

#[tokio::test]
async fn swaps_stay_with_the_target_that_they_are_meant_for() {
    let worker = sim("w").await;
    let mut plan = swapping(&worker.url());
    plan.targets = vec![target("quiet", &worker.url()), target("swapped", &worker.url())];
    plan.swaps.as_mut().unwrap().target = Some("swapped".to_owned());
    plan.limits.requests = None;
    // Rounds of either until the third swap ends the run; long enough and with so few requests that
    // a busy machine gets to it too.
    plan.limits.duration = Some(Duration::from_millis(400));
    plan.pace = Pace::Constant { per_second: 200.0 };
    plan.rounds = 1000;
    let swapper = Arc::new(Scripted::default());
    let control = swapper.control.clone();
    let outcome = soon(run(&plan, &control, Some(swapper))).await.unwrap();
    let swaps =
        |target: usize| outcome.targets[target].rounds.iter().map(|round| round.swaps.len()).sum::<usize>();
    assert_eq!((swaps(0), swaps(1)), (0, 3));
    assert!(!outcome.targets[0].rounds.is_empty());
}
