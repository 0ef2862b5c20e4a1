//! Sends spans to a collector, in batches.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::trace_section::TraceSettings;
use crate::metrics::{DeliveryCounts, Metrics, catalogue};
use crate::proxy::traces::span_queue::SpanQueue;
use crate::proxy::traces::tracer::Tracer;

/// Spans that are sent together, at most.
const BATCH: usize = 512;

/// How long spans wait for others.
const GATHER: Duration = Duration::from_secs(1);

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take for what is under way, and for the last one, when the router stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(3);

/// The task's part of traces.
#[derive(Debug)]
pub(crate) struct SpanSender {
    spans: mpsc::Receiver<Vec<SpanData>>,
    exporter: SpanExporter,
    endpoint: String,
    counts: Arc<DeliveryCounts>,
    /// Whether the last batch was not taken.
    is_down: bool,
}

impl SpanSender {
    /// A tracer, and who sends its spans.
    ///
    /// # Errors
    ///
    /// What the exporter says of the endpoint, or of the variables `OTEL_EXPORTER_OTLP_…`.
    pub(crate) fn open(
        settings: &TraceSettings,
        metrics: &Metrics,
    ) -> Result<(Tracer, Self), ExporterBuildError> {
        let builder = SpanExporter::builder().with_http().with_endpoint(settings.endpoint.clone());
        let mut exporter = builder.with_timeout(TIMEOUT).build()?;
        let resource = Resource::builder().with_service_name(settings.service_name.clone()).build();
        exporter.set_resource(&resource);
        let counts = Arc::new(DeliveryCounts::default());
        counts.register(metrics, &catalogue::TRACE_SPANS, "sent");
        let (queue, spans) = SpanQueue::new(Arc::clone(&counts));
        let endpoint = settings.endpoint.clone();
        let sender = Self { spans, exporter, endpoint, counts, is_down: false };
        Ok((Tracer::new(settings.sample, queue), sender))
    }

    /// Sends spans until it is told to stop, and then those that wait.
    ///
    /// # Cancel safety
    ///
    /// Spans that wait are lost.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut batch, mut end) = (Vec::new(), None);
        while end.is_none() {
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                spans = self.spans.recv() => spans,
            };
            let Some(first) = first else { break };
            batch.extend(first);
            let gathering = self.gather(&mut batch);
            tokio::select! {
                _ = tokio::time::timeout(GATHER, gathering) => {}
                () = stop.cancelled() => {}
            }
            end = self.send_unless_over(std::mem::take(&mut batch), &stop).await;
        }
        let end = end.unwrap_or_else(|| Instant::now() + LAST_TIMEOUT);
        while let Ok(spans) = self.spans.try_recv() {
            batch.extend(spans);
        }
        if !batch.is_empty() {
            self.send(batch, end.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Sends a batch. If it is told to stop meanwhile, it says when all must be over.
    async fn send_unless_over(&mut self, batch: Vec<SpanData>, stop: &CancellationToken) -> Option<Instant> {
        let (count, counts) = (batch.len() as u64, Arc::clone(&self.counts));
        let mut sending = pin!(self.send(batch, TIMEOUT));
        tokio::select! {
            () = &mut sending => return None,
            () = stop.cancelled() => {}
        }
        let end = Instant::now() + LAST_TIMEOUT;
        if tokio::time::timeout_at(end, sending).await.is_err() {
            counts.failed(count);
        }
        Some(end)
    }

    async fn gather(&mut self, batch: &mut Vec<SpanData>) {
        while batch.len() < BATCH
            && let Some(spans) = self.spans.recv().await
        {
            batch.extend(spans);
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>, timeout: Duration) {
        let count = batch.len() as u64;
        let sent = tokio::time::timeout(timeout, self.exporter.export(batch)).await;
        let fault = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {timeout:?}")),
        };
        let was_down = std::mem::replace(&mut self.is_down, fault.is_some());
        let collector = self.endpoint.as_str();
        match fault {
            None => {
                self.counts.delivered(count);
                if was_down {
                    tracing::info!(collector, "the collector takes traces again");
                }
            }
            Some(error) => {
                self.counts.failed(count);
                if !was_down {
                    tracing::error!(
                        collector,
                        error,
                        "traces are lost until the collector takes them; requests go on"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A sender to a collector that takes connections and says nothing.
    async fn to_a_silent_one() -> (TcpListener, mpsc::Sender<Vec<SpanData>>, SpanSender) {
        let collector = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}/v1/traces", collector.local_addr().unwrap());
        let (send, spans) = mpsc::channel(8);
        let exporter = SpanExporter::builder().with_http().with_endpoint(&endpoint).build().unwrap();
        (collector, send, SpanSender { spans, exporter, endpoint, counts: Arc::default(), is_down: false })
    }

    #[tokio::test(start_paused = true)]
    async fn silent_collector_does_not_hold_up_the_end_of_the_router() {
        for waits_for_an_answer in [true, false] {
            let (collector, send, sender) = to_a_silent_one().await;
            send.send(Vec::new()).await.unwrap();
            let stop = CancellationToken::new();
            let running = tokio::spawn(sender.run(stop.clone()));
            let connection = if waits_for_an_answer { Some(collector.accept().await.unwrap()) } else { None };
            send.send(Vec::new()).await.unwrap();
            let stopped = Instant::now();
            stop.cancel();
            running.await.unwrap();
            // The clock goes on by itself while nothing else happens.
            assert!(stopped.elapsed() <= LAST_TIMEOUT + GATHER, "{:?}", stopped.elapsed());
            drop(connection);
        }
    }
}
