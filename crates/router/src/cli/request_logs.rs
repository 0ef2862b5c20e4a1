//! Opens what is told of requests and changes: records of decisions, the access log, traces, the audit log.

use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::audit::Audit;
use crate::cli::start_error::StartError;
use crate::config::access_log_section::{AccessLogSettings, LogTarget};
use crate::config::checked::RecordSettings;
use crate::config::trace_section::TraceSettings;
use crate::manage::PluginManager;
use crate::metrics::Metrics;
use crate::proxy::DataPlane;
use crate::proxy::access_log::AccessLog;
use crate::proxy::traces::SpanSender;
use crate::records::Recorder;

/// What records decisions, if they are to be.
pub(crate) fn open_recorder(
    settings: Option<RecordSettings>,
    metrics: &Metrics,
) -> Result<Option<Arc<Recorder>>, StartError> {
    let Some(settings) = settings else { return Ok(None) };
    let file = settings.file.clone().unwrap_or_default();
    let recorder = Recorder::new(settings).map_err(|source| StartError::Records { file, source })?;
    recorder.register(metrics);
    Ok(Some(recorder))
}

/// Has requests told of in an access log, if they are to be.
pub(crate) fn open_access_log(
    settings: Option<AccessLogSettings>,
    proxy: &DataPlane,
    metrics: &Metrics,
) -> Result<(), StartError> {
    let Some(settings) = settings else { return Ok(()) };
    let log = AccessLog::open(&settings).map_err(|source| {
        let file = match settings.target {
            LogTarget::File(file) => file,
            LogTarget::Stdout => "-".into(),
        };
        StartError::AccessLog { file, source }
    })?;
    log.register(metrics);
    proxy.open_access_log(log);
    Ok(())
}

/// Has requests traced, if they are to be; whoever sends the spans is to be run.
pub(crate) fn open_traces(
    settings: Option<TraceSettings>,
    proxy: &DataPlane,
    metrics: &Metrics,
) -> Result<Option<SpanSender>, StartError> {
    let Some(settings) = settings else { return Ok(None) };
    let (tracer, sender) = SpanSender::open(&settings, metrics).map_err(|source| StartError::Traces {
        endpoint: settings.endpoint.clone(),
        source: source.into(),
    })?;
    let collector = settings.endpoint.as_str();
    tracing::info!(collector, share = settings.sample, "requests are traced");
    if collector.contains(":4317/") {
        tracing::warn!(
            collector,
            "port 4317 is that of OTLP over gRPC as a rule; this router speaks it over HTTP, to port 4318"
        );
    }
    proxy.start_traces(tracer);
    Ok(Some(sender))
}

/// The log of operators' changes.
pub(crate) fn open_audit(
    file: Option<PathBuf>,
    proxy: &DataPlane,
    manager: &Arc<PluginManager>,
) -> Result<Arc<Audit>, StartError> {
    Audit::open(file.as_deref(), proxy, manager)
        .map_err(|source| StartError::Audit { file: file.unwrap_or_default(), source })
}
