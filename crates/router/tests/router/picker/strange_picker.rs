//! A picker that does what a test tells it to, however wrong that is.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::{
    ExternalProcessor, ExternalProcessorServer,
};
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyResponse, HeadersResponse, ProcessingRequest, ProcessingResponse, TrailersResponse,
};
use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strange {
    /// It never answers.
    Silent,
    /// It answers, each message after this time.
    Slow(Duration),
    /// It ends the stream with an error at once.
    Erring,
    /// It ends the stream in order at once.
    Closing,
    /// It answers with an empty message.
    Empty,
    /// It answers a head as if it were a body.
    Mistaken,
    /// It answers with what was not asked for at all.
    Early,
}

/// The service.
#[derive(Debug)]
struct StrangePicker(Strange);

/// Serves it on a free port, until the tasks are dropped.
pub(crate) async fn start(strange: Strange) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (reporter, health) = tonic_health::server::health_reporter();
    let service = "envoy.service.ext_proc.v3.ExternalProcessor";
    reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    let picker = ExternalProcessorServer::new(StrangePicker(strange));
    let serving = Server::builder().add_service(health).add_service(picker);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        serving.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves");
    });
    (address, tasks)
}

#[tonic::async_trait]
impl ExternalProcessor for StrangePicker {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let strange = self.0;
        let answers = stream::unfold(request.into_inner(), move |mut incoming| async move {
            match strange {
                Strange::Silent => std::future::pending().await,
                Strange::Erring => return Some((Err(Status::internal("on purpose")), incoming)),
                Strange::Closing => return None,
                _ => {}
            }
            let asked = incoming.message().await.ok()??.request?;
            if let Strange::Slow(time) = strange {
                tokio::time::sleep(time).await;
            }
            let told = match strange {
                Strange::Empty => None,
                Strange::Mistaken => Some(Told::RequestBody(BodyResponse::default())),
                Strange::Early => Some(Told::ResponseTrailers(TrailersResponse::default())),
                _ => Some(fitting(&asked)),
            };
            Some((Ok(ProcessingResponse { response: told, ..ProcessingResponse::default() }), incoming))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn fitting(asked: &Asked) -> Told {
    match asked {
        Asked::RequestHeaders(_) => Told::RequestHeaders(HeadersResponse::default()),
        Asked::RequestBody(_) => Told::RequestBody(BodyResponse::default()),
        Asked::RequestTrailers(_) => Told::RequestTrailers(TrailersResponse::default()),
        Asked::ResponseHeaders(_) => Told::ResponseHeaders(HeadersResponse::default()),
        Asked::ResponseBody(_) => Told::ResponseBody(BodyResponse::default()),
        Asked::ResponseTrailers(_) => Told::ResponseTrailers(TrailersResponse::default()),
    }
}
