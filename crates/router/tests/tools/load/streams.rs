//! Times of streamed answers.

use bytes::Bytes;
use sgl_testkit::client::{call, get};
use sgl_testkit::upstream::{Upstream, stream};
use sgl_tools::load::{ErrorKind, LoadTarget, Plan};
use sgl_tools::sim::SimConfig;

use crate::load::plans::{made, only_round, plan, sim_with};

fn streamed(url: &str, requests: u64, output_tokens: u32) -> Plan {
    let mut plan = plan(url, requests);
    plan.shape.stream = true;
    plan.shape.output_tokens = output_tokens;
    plan
}

#[tokio::test]
async fn stream_has_a_first_token_and_a_gap_before_each_other_one() {
    let worker = sim_with(SimConfig::default()).await;
    let round = only_round(made(&streamed(&worker.url(), 20, 9)).await);
    let tally = &round.tally;
    assert_eq!((tally.ok, tally.tokens, tally.tokens_in_time), (20, 180, 180));
    assert_eq!((tally.first_token.count(), tally.between_tokens.count()), (20, 160));
    let (first, whole) = (tally.first_token.quantiles().unwrap(), tally.latency.quantiles().unwrap());
    assert!(first.p50 <= whole.p50 && first.max <= whole.max, "{first:?} {whole:?}");
}

#[tokio::test]
async fn completions_of_token_ids_are_counted_alike_by_both_sides() {
    let worker = sim_with(SimConfig::default()).await;
    let mut plan = streamed(&worker.url(), 6, 3);
    plan.shape.token_ids_below = Some(2000);
    plan.targets = plan.targets.into_iter().map(LoadTarget::of_completions).collect();
    let tally = only_round(made(&plan).await).tally;
    assert_eq!((tally.ok, tally.tokens, tally.first_token.count()), (6, 18, 6));
    let metrics = call(worker.addr(), get("/metrics")).await;
    let counted = "sglang:prompt_tokens_total{model_name=\"sim-model\"} 96\n";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn whole_answer_has_no_first_token() {
    let worker = sim_with(SimConfig::default()).await;
    let round = only_round(made(&plan(&worker.url(), 5)).await);
    assert_eq!((round.tally.first_token.count(), round.tally.between_tokens.count()), (0, 0));
}

#[tokio::test]
async fn first_token_is_the_first_text_and_not_the_role_before_it() {
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let worker = Upstream::start(move |_| async move {
        let (response, send, _) = stream();
        tokio::spawn(async move {
            for piece in [role, text, text, "data: [DONE]\n\n"] {
                send.send(Bytes::from(piece)).await.expect("it is read");
            }
        });
        response
    })
    .await;
    let round = only_round(made(&streamed(&worker.url(), 4, 2)).await);
    assert_eq!((round.tally.ok, round.tally.tokens), (4, 8));
    assert_eq!((round.tally.first_token.count(), round.tally.between_tokens.count()), (4, 4));
}

#[tokio::test]
async fn stream_that_breaks_its_form_fails() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let problem = "data: {\"error\":{\"message\":\"no memory\"}}\n\ndata: [DONE]\n\n";
    for (pieces, kind) in [([text, text], ErrorKind::Incomplete), ([text, problem], ErrorKind::StreamError)] {
        let worker = Upstream::start(move |_| async move {
            let (response, send, _) = stream();
            tokio::spawn(async move {
                for piece in pieces {
                    send.send(Bytes::from(piece)).await.expect("it is read");
                }
            });
            response
        })
        .await;
        let round = only_round(made(&streamed(&worker.url(), 3, 2)).await);
        assert_eq!(round.tally.errors, [(kind, 3)].into());
        assert_eq!((round.tally.ok, round.tally.first_token.count()), (0, 0));
    }
}

#[tokio::test]
async fn whole_answer_to_a_request_for_a_stream_fails() {
    let worker = Upstream::saying(r#"{"choices":[]}"#).await;
    let round = only_round(made(&streamed(&worker.url(), 3, 2)).await);
    assert_eq!(round.tally.errors, [(ErrorKind::Incomplete, 3)].into());
}
