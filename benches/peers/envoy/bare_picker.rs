//! An ext_proc server that answers at once and picks nobody: what asking costs, whoever is asked.
//!
//! usage: `bare_picker ADDRESS`
#![expect(clippy::print_stdout, reason = "whoever starts it waits for the line")]

use std::pin::Pin;

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
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// Answers everything with nothing.
#[derive(Debug)]
struct BarePicker;

#[tonic::async_trait]
impl ExternalProcessor for BarePicker {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let answers = stream::unfold(request.into_inner(), async |mut incoming| {
            let asked = incoming.message().await.ok()??.request?;
            let response = Some(match asked {
                Asked::RequestHeaders(_) => Told::RequestHeaders(HeadersResponse::default()),
                Asked::RequestBody(_) => Told::RequestBody(BodyResponse::default()),
                Asked::RequestTrailers(_) => Told::RequestTrailers(TrailersResponse::default()),
                Asked::ResponseHeaders(_) => Told::ResponseHeaders(HeadersResponse::default()),
                Asked::ResponseBody(_) => Told::ResponseBody(BodyResponse::default()),
                Asked::ResponseTrailers(_) => Told::ResponseTrailers(TrailersResponse::default()),
            });
            Some((Ok(ProcessingResponse { response, ..ProcessingResponse::default() }), incoming))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bare_picker ADDRESS")?;
    let listener = TcpListener::bind(&address).await?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let service = "envoy.service.ext_proc.v3.ExternalProcessor";
    reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    println!("listening on {}", listener.local_addr()?);
    // Limits as those of the picker: Envoy resets most streams.
    Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(64 << 20)
        .max_concurrent_streams(1 << 20)
        .http2_max_pending_accept_reset_streams(Some(1 << 16))
        .add_service(health)
        .add_service(ExternalProcessorServer::new(BarePicker).max_decoding_message_size(64 << 20))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}
