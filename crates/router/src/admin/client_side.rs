//! The endpoints of workers for the clients' listener: trainers that start engines register them where they
//! send their requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::middleware;
use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

use crate::admin::audit::Audit;
use crate::admin::connection::Connection;
use crate::admin::guard::{Guard, TokenDigest, check};
use crate::admin::kept_workers::KeptWorkers;
use crate::admin::who::{ChangeLog, log_changes};
use crate::admin::workers::Workers;
use crate::admin::{extract, worker_aliases, worker_drains, workers};
use crate::proxy::Backends;
use crate::proxy::worker_door::WorkerDoor;

/// The most that an answer has: a list of some ten thousand workers.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A door to the workers for who has the token.
pub(crate) fn door(
    backends: &Arc<Backends>,
    kept: Option<&Arc<KeptWorkers>>,
    token: &TokenDigest,
    audit: &Arc<Audit>,
    body_timeout: Duration,
) -> WorkerDoor {
    let aliases = Workers::new(Arc::clone(backends), kept.cloned());
    let routes = workers::routes(Arc::clone(backends), kept.cloned())
        .merge(worker_drains::routes(aliases.clone()))
        .merge(worker_aliases::routes(aliases))
        .fallback(extract::no_such_path)
        .method_not_allowed_fallback(extract::no_such_method)
        .layer(middleware::from_fn_with_state(Guard::Token(token.clone()), check))
        .layer(middleware::from_fn_with_state(ChangeLog::new(Arc::clone(audit)), log_changes));
    let routes = TowerToHyperService::new(routes);
    // Nothing is uploaded here.
    let uploads = Arc::new(Semaphore::new(0));
    WorkerDoor::new(move |mut request, client| {
        let address: Option<IpAddr> = client.to_str().ok().and_then(|text| text.parse().ok());
        let peer = SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 0);
        request.extensions_mut().insert(Connection { peer, body_timeout, uploads: Arc::clone(&uploads) });
        let answering = routes.call(request);
        Box::pin(async move {
            let Ok(response) = answering.await;
            let (head, body) = response.into_parts();
            match to_bytes(body, MAX_ANSWER_BYTES).await {
                Ok(body) => Response::from_parts(head, body),
                Err(_) => {
                    let mut failed = Response::new(Bytes::new());
                    *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    failed
                }
            }
        })
    })
}
