//! Bodies that the picker holds back take room, and go back whole.

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
};
use futures_util::stream;
use sgl_router::RunningRouter;
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::{soon, until};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::picker::modes::serving;
use crate::picker::rig::picking;

/// The picker's side of a request whose body Envoy has go through it.
struct EnvoyStream {
    ask: mpsc::Sender<ProcessingRequest>,
    told: Streaming<ProcessingResponse>,
}

/// A picker that reads bodies, for it has two models to tell apart, and room for so much of them.
async fn picker(workers: &[Upstream; 2], room: u64) -> RunningRouter {
    let mut config = picking(vec![serving(&workers[0], "a"), serving(&workers[1], "b")], 0);
    config.proxy.max_total_body_bytes = Some(room);
    // Of no matter here: who carries a request has let it in.
    config.proxy.max_payload_bytes = 1000;
    router::start(config).await
}

impl EnvoyStream {
    /// The head of a request was sent.
    async fn open(picker: &RunningRouter) -> Self {
        let address = format!("http://{}", picker.addresses().data);
        let channel = Endpoint::from_shared(address).expect("a URL").connect().await.expect("a listener");
        let (ask, asked) = mpsc::channel(8);
        let asked = stream::unfold(asked, async |mut asked| Some((asked.recv().await?, asked)));
        let headers = [(":method", "POST"), (":path", "/v1/completions")].map(|(key, value)| HeaderValue {
            key: key.to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        });
        let head =
            HttpHeaders { headers: Some(HeaderMap { headers: headers.into() }), ..HttpHeaders::default() };
        let modes = ProtocolConfiguration {
            request_body_mode: BodySendMode::FullDuplexStreamed.into(),
            ..ProtocolConfiguration::default()
        };
        let message = ProcessingRequest {
            request: Some(Asked::RequestHeaders(head)),
            protocol_config: Some(modes),
            ..ProcessingRequest::default()
        };
        ask.send(message).await.expect("it listens");
        let told = ExternalProcessorClient::new(channel).process(Box::pin(asked)).await.expect("a stream");
        Self { ask, told: told.into_inner() }
    }

    async fn send(&self, body: &[u8], end_of_stream: bool) {
        let body = HttpBody { body: body.to_vec(), end_of_stream, ..HttpBody::default() };
        let message =
            ProcessingRequest { request: Some(Asked::RequestBody(body)), ..ProcessingRequest::default() };
        self.ask.send(message).await.expect("it listens");
    }

    async fn hear(&mut self) -> Told {
        soon(self.told.message()).await.expect("no error").expect("an answer").response.expect("one of them")
    }

    /// The pieces of the body that come back, until so many bytes have.
    async fn back(&mut self, bytes: usize) -> (Vec<u8>, bool) {
        let (mut back, mut is_over) = (Vec::new(), false);
        while back.len() < bytes {
            let Told::RequestBody(body) = self.hear().await else { panic!("a piece of the body") };
            let mutation =
                body.response.and_then(|common| common.body_mutation).and_then(|body| body.mutation);
            let Some(Mutation::StreamedResponse(piece)) = mutation else { panic!("bytes") };
            back.extend(piece.body);
            is_over = piece.end_of_stream;
        }
        (back, is_over)
    }
}

async fn counted(picker: &RunningRouter) -> f64 {
    let page = router::metrics(picker).await;
    let line = page.text().lines().find_map(|line| line.strip_prefix("sgl_router_body_bytes "));
    line.expect("the gauge").parse().expect("a number")
}

#[tokio::test]
async fn body_that_is_held_back_takes_room_until_it_is_back() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await];
    let picker = picker(&workers, 1 << 30).await;
    let mut envoy = EnvoyStream::open(&picker).await;
    let mut body = br#"{"model":"b","prompt":""#.to_vec();
    body.resize(3_000_000, b'x');
    envoy.send(&body, false).await;
    until(async || counted(&picker).await >= 3_000_000.0).await;
    envoy.send(br#""}"#, true).await;
    let Told::RequestHeaders(head) = envoy.hear().await else { panic!("the pick") };
    let headers = head.response.and_then(|common| common.header_mutation).expect("headers").set_headers;
    let picked = headers.iter().filter_map(|header| header.header.as_ref());
    let picked: Vec<String> =
        picked.map(|header| String::from_utf8_lossy(&header.raw_value).into_owned()).collect();
    assert!(picked.contains(&workers[1].address.to_string()), "{picked:?}");
    body.extend(br#""}"#);
    let back = envoy.back(body.len()).await;
    assert!(back == (body, true), "{} bytes, {}", back.0.len(), back.1);
    drop(envoy);
    until(async || counted(&picker).await == 0.0).await;
}

#[tokio::test]
async fn without_room_the_pick_comes_at_once_and_the_body_goes_through() {
    let workers = [Upstream::saying("a").await, Upstream::saying("b").await];
    let picker = picker(&workers, 1_000_000).await;
    let mut envoy = EnvoyStream::open(&picker).await;
    let mut body = br#"{"model":"b","prompt":""#.to_vec();
    body.resize(1_200_000, b'x');
    // Its end does not come yet.
    envoy.send(&body, false).await;
    assert!(matches!(envoy.hear().await, Told::RequestHeaders(_)), "the pick");
    assert!(envoy.back(body.len()).await == (body, false));
    envoy.send(b"\"}", true).await;
    assert_eq!(envoy.back(2).await, (b"\"}".to_vec(), true));
}
