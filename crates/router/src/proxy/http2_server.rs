//! Serves one connection of HTTP/2, on which requests come beside one another.
//!
//! hyper gives each request a task. Each gets a record of its own, with its own deadlines, as if it were a
//! connection: whoever waits for one client waits for one request.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::time::Sleep;

use crate::proxy::clients::{Client, Stage};
use crate::proxy::service;

/// The most bytes of a request's headers, as HTTP/2 counts them.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// How long a client may take to hear that its idle connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The request that this task serves.
    static STREAM: Arc<Client>;
}

/// Serves a connection until it ends, is idle for too long, or has to close.
pub(crate) async fn serve_http2<T>(io: T, client: &Arc<Client>, max_streams: u32)
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(StreamTasks(Arc::clone(client)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .max_header_list_size(MAX_HEADER_BYTES);
    let handler = service_fn(|request| async move {
        // Polled in the task of the request, which knows whose it is.
        let stream = STREAM.with(Arc::clone);
        Ok::<_, Infallible>(service::handle(stream, request).await)
    });
    let mut connection = pin!(builder.serve_connection(io, handler));
    let (mut is_watched, mut is_ending) = (false, false);
    let mut farewell: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut is_watched, true) {
            client.set_waker(cx);
        }
        let clients = client.clients();
        if clients.is_at_least(Stage::Closing) {
            return Poll::Ready(());
        }
        let must_close = client.must_close();
        if (must_close || clients.is_at_least(Stage::Draining)) && !std::mem::replace(&mut is_ending, true) {
            connection.as_mut().graceful_shutdown();
        }
        if must_close {
            let sleep = farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        // An error is a client that hung up or does not speak HTTP/2.
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// Gives each request of a connection a task and a record.
#[derive(Clone, Debug)]
struct StreamTasks(Arc<Client>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, request: F) {
        let present = PresentStream(self.0.enter_stream());
        tokio::spawn(async move {
            let stream = Arc::clone(&present.0);
            watched(pin!(STREAM.scope(Arc::clone(&stream), request)), &stream).await;
            drop(present);
        });
    }
}

/// Serves a request until its answer has gone out, the client has dropped it, or it is out of time.
async fn watched(mut request: Pin<&mut impl Future<Output = ()>>, stream: &Client) {
    let mut is_watched = false;
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut is_watched, true) {
            stream.set_waker(cx);
        }
        if stream.must_close() || stream.clients().is_at_least(Stage::Closing) {
            return Poll::Ready(());
        }
        let polled = request.as_mut().poll(cx);
        // A client that does not read its answer keeps hyper from asking for more of it.
        if stream.is_busy() && stream.is_late_now() { Poll::Ready(()) } else { polled }
    })
    .await;
}

/// Tells the register when a request ends, even if its task panics.
struct PresentStream(Arc<Client>);

impl Drop for PresentStream {
    fn drop(&mut self) {
        self.0.leave();
    }
}
