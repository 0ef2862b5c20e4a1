//! From flags to a plan.

use std::fs::File;
use std::io;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::RootCertStore;

use crate::cli::load::args::{ArrivalProcess, LoadArgs};
use crate::cli::load::error::LoadError;
use sgl_tools::load::{LoadTarget, Pace, Plan, RequestShape, RunLimits, SwapPlan, TRACE_BLOCK_TOKENS, Trace};
use sgl_upstream::{WorkerTls, WorkerTlsSettings, WorkerUrl, read_authorities};
use sglang_router_rs::types::{file, shown_path};

/// Rounds if several targets are compared.
const COMPARE_ROUNDS: u32 = 3;
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Largest file of headers: servers take no larger ones.
const MOST_HEADER_BYTES: u64 = 64 << 10;
/// All prompts stay in memory: at most a gibibyte, at four bytes per token.
const MOST_PROMPT_TOKENS: u64 = 1 << 28;

/// What the flags ask for.
///
/// # Errors
///
/// [`LoadError::Usage`].
pub(crate) fn plan(args: &LoadArgs) -> Result<Plan, LoadError> {
    let targets = targets(args)?;
    let pace = pace(args)?;
    let told = if let Pace::Trace { trace, .. } = &pace { trace.least_unit() } else { None };
    let is_endless = args.requests.is_none() && args.trace.is_none();
    let duration = args.duration.or(is_endless.then_some(DEFAULT_DURATION));
    if duration.is_some_and(|duration| duration.is_zero()) {
        return Err(usage("--duration: found 0; allowed: above 0"));
    }
    Ok(Plan {
        pace,
        shape: shape(args, args.trace_block_tokens.or(told).unwrap_or(TRACE_BLOCK_TOKENS))?,
        limits: RunLimits {
            duration,
            requests: args.requests,
            warmup: args.warmup,
            timeout: args.timeout,
            drain: args.drain,
            max_in_flight: args.max_in_flight,
        },
        rounds: args.rounds.unwrap_or(if targets.len() > 1 { COMPARE_ROUNDS } else { 1 }),
        seed: args.seed,
        swaps: swaps(args, &targets)?,
        targets,
    })
}

fn usage(text: impl Into<String>) -> LoadError {
    LoadError::Usage(text.into())
}

fn targets(args: &LoadArgs) -> Result<Vec<LoadTarget>, LoadError> {
    let headers = headers(args)?;
    let tls = tls(args)?;
    let url = |flag: &str, text: &str| {
        WorkerUrl::parse(text)
            .map_err(|error| usage(format!("{flag}: found {:?}; allowed: {error}", WorkerUrl::refused(text))))
    };
    let target = |name: &str, url| {
        let target = LoadTarget::new(name, url, headers.clone(), &tls);
        if args.token_ids.is_some() { target.of_completions() } else { target }
    };
    if args.compare.is_empty() {
        return Ok(vec![target("router", url("--url", &args.url)?)]);
    }
    let mut targets: Vec<LoadTarget> = Vec::new();
    for text in &args.compare {
        let (name, address) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            usage(format!("--compare: found {:?}; allowed: NAME=URL", WorkerUrl::refused(text)))
        })?;
        if targets.iter().any(|target| target.name() == name) {
            return Err(usage(format!("--compare: the name {name:?} is given twice")));
        }
        targets.push(target(name, url("--compare", address)?));
    }
    Ok(targets)
}

/// Whom to trust.
fn tls(args: &LoadArgs) -> Result<Arc<WorkerTls>, LoadError> {
    for file in &args.ca_cert_paths {
        let read = read_authorities(file, &mut RootCertStore::empty());
        read.map_err(|fault| usage(format!("--ca-cert-paths: {fault}")))?;
    }
    let authorities = args.ca_cert_paths.clone();
    Ok(WorkerTls::new(WorkerTlsSettings { authorities, ..WorkerTlsSettings::default() }))
}

fn headers(args: &LoadArgs) -> Result<HeaderMap, LoadError> {
    let fault = |text: &String| usage(format!("--header: found {text:?}; allowed: NAME: VALUE"));
    let mut headers: HeaderMap =
        args.header.iter().map(|text| header(text).ok_or_else(|| fault(text))).collect::<Result<_, _>>()?;
    let Some(path) = &args.header_file else { return Ok(headers) };
    // Nothing of the file is told: it may be a key.
    let fault = |problem: String| usage(format!("--header-file: {}: {problem}", shown_path(path)));
    let text = file::read_text(path, MOST_HEADER_BYTES).map_err(|error| fault(error.to_string()))?;
    for (position, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let allowed = || fault(format!("line {} is not as it must be: NAME: VALUE", position + 1));
        let (name, value) = header(line).ok_or_else(allowed)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    let name = HeaderName::try_from(name.trim()).ok()?;
    Some((name, HeaderValue::try_from(value.trim()).ok()?))
}

fn pace(args: &LoadArgs) -> Result<Pace, LoadError> {
    if let Some(path) = &args.trace {
        let trace = Arc::new(read_trace(path)?);
        return Ok(Pace::Trace { trace, speed: args.trace_speed });
    }
    Ok(match (args.rate, args.arrivals) {
        (None, _) => Pace::Closed { connections: args.connections },
        (Some(per_second), ArrivalProcess::Poisson) => Pace::Poisson { per_second },
        (Some(per_second), ArrivalProcess::Constant) => Pace::Constant { per_second },
    })
}

fn read_trace(path: &Path) -> Result<Trace, LoadError> {
    let fault = |reason: String| usage(format!("--trace: {}: {reason}", shown_path(path)));
    let file = File::open(path).map_err(|error| fault(error.to_string()))?;
    let trace = Trace::read(BufReader::new(file)).map_err(|error| fault(error.to_string()))?;
    for note in trace.gaps().notes() {
        // Requests are sent though nobody can be told.
        let _ = writeln!(io::stderr().lock(), "--trace: {note}");
    }
    Ok(trace)
}

fn shape(args: &LoadArgs, trace_block_tokens: u32) -> Result<RequestShape, LoadError> {
    let fields = match &args.body_fields {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| usage(format!("--body-fields: not a JSON object: {error}")))?,
        None => serde_json::Map::new(),
    };
    if u64::from(args.prompts) * u64::from(args.prompt_tokens) > MOST_PROMPT_TOKENS {
        let limit = format!("--prompts times --prompt-tokens: allowed: at most {MOST_PROMPT_TOKENS}");
        return Err(usage(limit));
    }
    Ok(RequestShape {
        model: args.model.clone(),
        prompt_tokens: args.prompt_tokens,
        output_tokens: args.output_tokens,
        prompts: args.prompts,
        stream: args.stream,
        fields,
        token_ids_below: args.token_ids,
        trace_block_tokens,
    })
}

fn swaps(args: &LoadArgs, targets: &[LoadTarget]) -> Result<Option<SwapPlan>, LoadError> {
    if args.swap_plugin.is_none() {
        return Ok(None);
    }
    let is_known = |name: &String| targets.iter().any(|target| target.name() == name);
    if let Some(name) = args.swap_target.as_ref().filter(|name| !is_known(name)) {
        return Err(usage(format!("--swap-target: no --compare has the name {name:?}")));
    }
    let module = |path: &PathBuf| {
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    Ok(Some(SwapPlan {
        every: args.swap_every,
        target: args.swap_target.clone(),
        modules: args.swap_module.iter().map(module).collect(),
    }))
}
