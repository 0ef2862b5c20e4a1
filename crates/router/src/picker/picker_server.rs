//! The listener for Envoy: accepts, serves, stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::ExternalProcessorServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::metrics::Metrics;
use crate::picker::envoy_config::CHECK_INTERVAL;
use crate::picker::grpc_routes::GrpcRoutes;
use crate::picker::picker_health;
use crate::picker::process_stream::PickService;
use crate::picker::stream_counts::StreamCounts;
use crate::proxy::DataPlane;
use crate::proxy::carried::CarriedPlacer;
use sglang_router_rs::policies::PolicyHandle;

/// The least that a message may carry of a body, however small those of clients are to be: what is beyond it ends
/// the stream with an error, and Envoy sends as much as its buffers hold, 2 MiB by default and 6 MiB with large ones.
const LEAST_MESSAGE_BYTES: u64 = 16 << 20;

/// What a message has beside a body.
const MESSAGE_ROOM_BYTES: u64 = 1 << 20;

/// Envoy opens few connections, each for thousands of requests at a time.
const MAX_STREAMS: u32 = 1 << 20;

/// Bytes that Envoy may send ahead in one stream: a body of the size of its buffer.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// And in all of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// Streams that Envoy has reset and that are not seen to yet: it ends most streams so, and it is trusted.
const MAX_RESET_STREAMS: usize = 1 << 16;

/// How long Envoy takes to notice that the picker is not healthy: two checks of the configuration that is
/// printed.
const NOTICED_WITHIN: Duration = Duration::from_secs(CHECK_INTERVAL.as_secs() * 2);

/// A bound listener.
#[derive(Debug)]
pub(crate) struct PickerServer {
    listener: TcpListener,
    proxy: Arc<DataPlane>,
    service: PickService,
}

impl PickerServer {
    /// Binds the address. `native` picks where the policy is too late; beside the picked worker so many others
    /// are named.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub(crate) async fn bind(
        address: SocketAddr,
        proxy: Arc<DataPlane>,
        native: PolicyHandle,
        fallbacks: usize,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let placer = Arc::new(CarriedPlacer::new(Arc::clone(&proxy), native, fallbacks, metrics));
        let service = PickService::new(placer, StreamCounts::new(metrics));
        Ok(Self { listener, proxy, service })
    }

    /// The address that is bound.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to stop. Then it says that it is not healthy, goes on for as long as Envoy takes to
    /// notice, accepts nothing more, and lets requests in flight finish for as long as the settings say.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes everything.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let Self { listener, proxy, service } = self;
        let (reporter, health) = tonic_health::server::health_reporter();
        let largest =
            proxy.settings().max_payload_bytes.max(LEAST_MESSAGE_BYTES).saturating_add(MESSAGE_ROOM_BYTES);
        let largest = usize::try_from(largest).unwrap_or(usize::MAX);
        let picks = ExternalProcessorServer::new(service).max_decoding_message_size(largest);
        let closed = CancellationToken::new();
        let serving = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_pending_accept_reset_streams(Some(MAX_RESET_STREAMS))
            .serve_with_incoming_shutdown(
                GrpcRoutes { picks, health },
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                closed.clone().cancelled_owned(),
            );
        let limit = proxy.settings().shutdown;
        let stopping = async {
            stop.cancelled().await;
            // Told before if the router was not ready for a while.
            if !proxy.is_stopping() {
                proxy.stop();
                tokio::time::sleep(NOTICED_WITHIN).await;
            }
            closed.cancel();
            tokio::time::sleep(limit).await;
        };
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(%error, "the listener for Envoy ended");
                }
            }
            () = stopping => tracing::warn!("closing streams that did not finish in time"),
            () = picker_health::tell(reporter, Arc::clone(&proxy)) => {}
        }
        proxy.stop();
    }
}
