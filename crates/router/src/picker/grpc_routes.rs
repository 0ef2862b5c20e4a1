//! Which service a call is for: Envoy's, or health.

use std::convert::Infallible;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::ExternalProcessorServer;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::picker::process_stream::PickService;

/// What paths of health begin with.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Both services. Two need no router, which would cost each request a look-up and two allocations.
pub(crate) struct GrpcRoutes<H> {
    /// For Envoy's requests.
    pub(crate) picks: ExternalProcessorServer<PickService>,
    /// For Envoy's checks.
    pub(crate) health: HealthServer<H>,
}

// Not derived: the service of health need not be one that can be cloned.
impl<H> Clone for GrpcRoutes<H> {
    fn clone(&self) -> Self {
        Self { picks: self.picks.clone(), health: self.health.clone() }
    }
}

impl<H: Health> Service<Request<Body>> for GrpcRoutes<H> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(HEALTH) {
            self.health.call(request)
        } else {
            // It refuses what it does not know.
            self.picks.call(request)
        }
    }
}
