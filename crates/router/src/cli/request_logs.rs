//! Opens what is told of requests: records of decisions, and the access log.

use std::sync::Arc;

use crate::cli::start_error::StartError;
use crate::config::access_log_section::{AccessLogSettings, LogTarget};
use crate::config::checked::RecordSettings;
use crate::metrics::Metrics;
use crate::proxy::DataPlane;
use crate::proxy::access_log::AccessLog;
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
