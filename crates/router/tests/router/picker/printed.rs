//! The configuration for Envoy that the picker prints.

use sgl_testkit::envoy;
use sgl_testkit::process::{command, output, stderr, stdout};

use crate::picker::rig::{in_mode, printed};

const MODES: [&str; 5] = ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"];

#[tokio::test]
async fn envoy_takes_what_is_printed_in_every_mode_and_not_what_is_wrong_in_it() {
    let Some(program) = envoy::program() else { return };
    let addresses = ["127.0.0.1:9002", "127.0.0.1:30001", "[::1]:30002"].map(|text| text.parse().unwrap());
    let config = printed(addresses[0], &addresses[1..]).await;
    for mode in MODES {
        assert_eq!(envoy::validate(&program, &in_mode(&config, mode)), None, "{mode}");
    }
    let wrong = config.replace("failure_mode_allow", "failure_mode_allowed");
    assert!(envoy::validate(&program, &wrong).is_some_and(|said| said.contains("failure_mode_allowed")));
}

#[tokio::test]
async fn picker_is_told_to_envoy_where_it_listens() {
    let arguments = ["picker", "--print-envoy-config", "--worker-urls", "http://10.0.0.7:30000"];
    let text = stdout(&output(command(&arguments)).await);
    assert!(text.contains("{ address: \"127.0.0.1\", port_value: 9002 }"), "{text}");
    assert!(text.contains("{ address: \"10.0.0.7\", port_value: 30000 }"), "{text}");
    let everywhere = [&arguments[..], &["--host", "0.0.0.0", "--port", "9100"]].concat();
    let text = stdout(&output(command(&everywhere)).await);
    assert!(text.contains("{ address: \"127.0.0.1\", port_value: 9100 }"), "{text}");
}

#[tokio::test]
async fn worker_with_a_name_is_refused_and_so_is_a_configuration_without_workers() {
    let named = ["picker", "--worker-urls", "http://10.0.0.7:30000", "http://worker:30000"];
    let refused = output(command(&named)).await;
    let said = stderr(&refused);
    assert!(!refused.status.success() && said.contains("workers[1].url"), "{said}");
    assert!(said.contains("http://worker:30000") && said.contains("http://IP:PORT"), "{said}");
    let none = output(command(&["picker", "--print-envoy-config"])).await;
    let said = stderr(&none);
    assert!(!none.status.success() && none.stdout.is_empty() && said.contains("--worker-urls"), "{said}");
}

#[tokio::test]
async fn configuration_that_could_not_work_is_not_printed() {
    let print = ["picker", "--print-envoy-config", "--worker-urls"];
    for (more, told) in [
        (&["https://10.0.0.7:30000"][..], &["workers[0].url", "transport_socket"][..]),
        (&["http://10.0.0.7:30000", "--port", "0"], &["server.port", "--port"]),
    ] {
        let refused = output(command(&[&print[..], more].concat())).await;
        let said = stderr(&refused);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{said}");
        assert!(told.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[tokio::test]
async fn picker_with_halves_of_pairs_only_does_not_start() {
    let halves =
        ["--pd-disaggregation", "--prefill", "http://10.0.0.7:30000", "--decode", "http://10.0.0.8:30000"];
    let refused = output(command(&[&["picker", "--port", "0"], &halves[..]].concat())).await;
    let said = stderr(&refused);
    assert!(!refused.status.success() && said.contains("only halves of pairs"), "{said}");
}
