//! Requests that differ in headers and in what they say of their answers, and workers with labels.

use std::collections::BTreeMap;

use sgl_simulate::engine::EngineModel;
use sgl_simulate::fleet::FleetSetup;
use sgl_simulate::report::RunReport;
use sgl_simulate::workload::{AnswerLimit, GeneratedLoad, HeaderMix, RequestTraits, Workload};

use crate::sweeps::{plugin, runs};

fn load(text: &str) -> Workload {
    GeneratedLoad::from_toml(text).unwrap().checked().unwrap().workload(5, 512)
}

fn p90(run: &RunReport, group: &str) -> f64 {
    let found = run.groups.iter().find(|one| one.group == group);
    found.expect("one of its groups").ttft.unwrap().p90
}

/// More than two workers can do for a while: who is urgent goes before who is not, by the header alone.
#[test]
fn policies_see_headers_and_reports_tell_them_apart() {
    let workload =
        load("rate = 1.5\narrivals = \"on_off\"\nrequests = 1200\nprompt_tokens = 2000\noutput_tokens = 150");
    let setup = FleetSetup::new(EngineModel { max_sequences: 8, ..EngineModel::default() }, 2);
    let mut policy = plugin("priority");
    for (key, value) in [("header", "x-urgency".into()), ("slots", 8.into()), ("shed_from_level", 10.into())]
    {
        policy.config.insert(key.to_owned(), value);
    }
    let with = |mix: &str| {
        let headers = vec![HeaderMix::parse(mix).unwrap()];
        let workload = workload.clone().with_traits(RequestTraits { headers, ..RequestTraits::default() });
        runs(&policy, &setup, &workload, 1)
    };
    for run in with("X-Urgency=high:0.3,low:0.7") {
        let [high, low] = ["x-urgency: high", "x-urgency: low"].map(|group| p90(&run, group));
        assert!(run.held > 100 && low > 5.0 * high, "{high} {low}, {} held", run.held);
        let counted: u64 = run.groups.iter().map(|group| group.requests).sum();
        assert_eq!((run.groups.len(), counted), (2, 1200));
    }
    // The same requests, with names that say nothing to it.
    for run in with("x-other=high:0.3,low:0.7") {
        let [high, low] = ["x-other: high", "x-other: low"].map(|group| p90(&run, group));
        assert!(low < 1.3 * high && high < 1.3 * low, "{high} {low}");
    }
}

/// What a request says of its answer decides whether it is long, and the label who serves it then.
#[test]
fn policies_see_labels_and_the_length_that_answers_may_have() {
    let workload = load("rate = 2.0\nrequests = 300\nprompt_tokens = 1000\noutput_tokens = 40");
    let mut setup = FleetSetup::new(EngineModel::default(), 3);
    let pool = |value: &str| BTreeMap::from([("pool".to_owned(), value.to_owned())]);
    setup.labels = vec![pool("short"), pool("short"), pool("long")];
    let mut policy = plugin("token_pools");
    policy.config.insert("spill".to_owned(), 0.into());
    let sent = |max_tokens| {
        let traits = RequestTraits { max_tokens, long_from: Some(8192), ..RequestTraits::default() };
        let run = runs(&policy, &setup, &workload.clone().with_traits(traits), 1).remove(0);
        let counts: Vec<u64> = run.groups.iter().map(|group| group.answered).collect();
        assert_eq!(counts, [300, 0], "all prompts are short");
        run.workers.iter().map(|worker| worker.requests).collect::<Vec<_>>()
    };
    let short = sent(AnswerLimit::Times(1.0));
    assert!(short[0] > 0 && short[1] > 0 && short[2] == 0, "{short:?}");
    assert_eq!(sent(AnswerLimit::Fixed(8000)), [0, 0, 300]);
    // It takes 1024 for an answer of which nothing is said.
    assert_eq!(sent(AnswerLimit::AsKnown)[2], 0);
}
