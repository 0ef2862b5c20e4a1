//! The flags of `sgl-router serve` about what is told of requests and of changes.

use std::path::PathBuf;

use clap::Args;

use crate::config::access_log_section::LineForm;
use crate::config::router::RouterConfig;
use crate::config::trace_section::DEFAULT_ENDPOINT;
use sgl_api::RecordedInputs;

/// Flags about what is told of requests and of changes. They win over the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct WatchFlags {
    /// Read the counts of tokens of all answers, for metrics; otherwise only where a policy or a key needs them
    #[arg(long)]
    pub token_metrics: bool,

    /// File to which a line for each request is appended, or - for standard output
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<String>,
    /// How its lines look [default: json]
    #[arg(long, value_name = "FORM", value_parser = line_form)]
    pub access_log_format: Option<LineForm>,
    /// Send traces of requests to a collector of OpenTelemetry [default: to http://localhost:4318/v1/traces]
    #[arg(long)]
    pub enable_trace: bool,
    /// Where a collector takes OTLP over HTTP; turns traces on
    #[arg(long, value_name = "URL")]
    pub otlp_traces_endpoint: Option<String>,
    /// Share of the requests that begin a trace, 0.0 to 1.0 [default: 1.0]
    #[arg(long, value_name = "SHARE")]
    pub otel_sampling_ratio: Option<f64>,
    /// File to which every change of an operator is appended, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub audit_file: Option<PathBuf>,
    /// Share of the requests whose decisions are recorded, 0.0 to 1.0 [default: 0.0]
    #[arg(long, value_name = "SHARE")]
    pub record_sample: Option<f64>,
    /// File to which records of decisions are appended, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub record_file: Option<PathBuf>,
    /// What is recorded: what the policy declares, or all inputs, for `plugin replay` with other policies
    /// [default: declared]
    #[arg(long, value_name = "WHICH", value_parser = recorded_inputs)]
    pub record_inputs: Option<RecordedInputs>,
    /// Clients that send x-sgl-explain get x-sgl-decision with their answer
    #[arg(long)]
    pub record_header: bool,
}

impl WatchFlags {
    pub(crate) fn lay_over(&self, config: &mut RouterConfig) {
        config.metrics.tokens |= self.token_metrics;
        if self.access_log.is_some() {
            config.access_log.file.clone_from(&self.access_log);
        }
        config.access_log.format = self.access_log_format.unwrap_or(config.access_log.format);
        if self.otlp_traces_endpoint.is_some() {
            config.traces.endpoint.clone_from(&self.otlp_traces_endpoint);
        } else if self.enable_trace {
            config.traces.endpoint.get_or_insert_with(|| DEFAULT_ENDPOINT.to_owned());
        }
        config.traces.sample = self.otel_sampling_ratio.unwrap_or(config.traces.sample);
        if self.audit_file.is_some() {
            config.admin.audit_file.clone_from(&self.audit_file);
        }
        let records = &mut config.records;
        records.sample = self.record_sample.unwrap_or(records.sample);
        if self.record_file.is_some() {
            records.file.clone_from(&self.record_file);
        }
        records.inputs = self.record_inputs.unwrap_or(records.inputs);
        records.header |= self.record_header;
    }

    /// Keys, their flags, and whether these were given.
    pub(crate) fn given(&self) -> Vec<(&'static str, &'static str, bool)> {
        vec![
            ("metrics.tokens", "--token-metrics", self.token_metrics),
            ("access_log.file", "--access-log", self.access_log.is_some()),
            ("access_log.format", "--access-log-format", self.access_log_format.is_some()),
            ("traces.endpoint", "--otlp-traces-endpoint", self.otlp_traces_endpoint.is_some()),
            ("traces.sample", "--otel-sampling-ratio", self.otel_sampling_ratio.is_some()),
            ("admin.audit_file", "--audit-file", self.audit_file.is_some()),
            ("records.sample", "--record-sample", self.record_sample.is_some()),
            ("records.file", "--record-file", self.record_file.is_some()),
            ("records.inputs", "--record-inputs", self.record_inputs.is_some()),
        ]
    }
}

fn line_form(text: &str) -> Result<LineForm, String> {
    let known = LineForm::ALL.into_iter().find(|(_, name)| *name == text);
    known
        .map(|(form, _)| form)
        .ok_or_else(|| format!("allowed: {}", LineForm::ALL.map(|(_, name)| name).join(", ")))
}

fn recorded_inputs(text: &str) -> Result<RecordedInputs, String> {
    match text {
        "declared" => Ok(RecordedInputs::Declared),
        "all" => Ok(RecordedInputs::All),
        _ => Err("allowed: declared, all".to_owned()),
    }
}
