//! One calibration, from flags to the file.

use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, json};
use tempfile::NamedTempFile;

use crate::cli::calibrate::args::CalibrateArgs;
use crate::cli::calibrate::bench::{Bench, say};
use crate::cli::calibrate::error::CalibrateError;
use crate::cli::calibrate::probes;
use crate::config::check::{Surroundings, check};
use crate::config::router::RouterConfig;
use crate::proxy::engines::engine_look::{EngineLook, EngineWatcher, ServedModel};
use crate::proxy::own_questions::NoAnswer;
use sgl_simulate::calibration::{CalibratedModel, Measurements, ToldByEngine};
use sgl_simulate::engine::ReportedLoad;
use sgl_tools::load::{LoadTarget, Prober};
use sgl_upstream::{WorkerUrl, without_user};
use sglang_router_rs::policies::NativePolicy;

/// For one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Left of what a model takes for the answer and for what was miscounted.
const ROOM: u32 = 256;

/// Measures an engine on a runtime of its own, and writes its model. Must not be called inside another
/// runtime.
///
/// # Errors
///
/// [`CalibrateError`], which has an exit code.
pub fn run(args: &CalibrateArgs) -> Result<(), CalibrateError> {
    // Before it is measured: that must not end at a directory that does not exist.
    let file = match &args.out {
        Some(path) => Some((path, beside(path).map_err(unwritten(path))?)),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let (about, measured) = runtime.map_err(CalibrateError::Runtime)?.block_on(measure(args))?;
    let calibration = CalibratedModel::of(&measured);
    if !calibration.is_measured() {
        return Err(CalibrateError::NothingMeasured(why_nothing(args, &measured)));
    }
    let toml = calibration.to_toml(&about);
    if args.json || file.is_none() {
        say(calibration.table().trim_end());
    }
    let report = || json!({ "about": about, "calibration": calibration, "measured": measured });
    match file {
        Some((path, mut file)) => {
            let written = file.write_all(toml.as_bytes());
            written.and_then(|()| Ok(file.persist(path).map(drop)?)).map_err(unwritten(path))?;
            print(&if args.json { format!("{:#}\n", report()) } else { calibration.table() })
        }
        None => print(&if args.json { format!("{:#}\n", report()) } else { toml }),
    }
}

fn unanswered(args: &CalibrateArgs, why: NoAnswer) -> CalibrateError {
    let why = match why {
        NoAnswer::Unreachable => "no connection",
        NoAnswer::Timeout => "no answer in time",
        NoAnswer::Unusable => "an answer that broke off, or is too large",
    };
    CalibrateError::Unanswered { url: without_user(&args.url), why }
}

/// Why no time of an engine is known.
fn why_nothing(args: &CalibrateArgs, measured: &Measurements) -> String {
    let counts = [measured.prompts.len(), measured.decodes.len(), measured.bursts.len()];
    let [prompts, streams, bursts] = counts;
    let (secs, requests) = (args.max_secs, args.max_requests);
    format!(
        "found {prompts} prompts alone, {streams} groups of streams and {bursts} of prompts that came together, which \
         is too little for any number; expected: prompts of several lengths, and streams. --max-secs {secs} or \
         --max-requests {requests} ended it too early, or answers had less than what was asked for"
    )
}

/// A file that takes the place of the one at `path` once it is whole.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    // Others may read a model.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

async fn measure(args: &CalibrateArgs) -> Result<(Vec<String>, Measurements), CalibrateError> {
    let url = WorkerUrl::parse(&args.url).map_err(|error| {
        usage(format!("--url: found {:?}; allowed: {error}", WorkerUrl::refused(&args.url)))
    })?;
    let headers = headers(&args.header)?;
    let surroundings = Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() };
    let checked = check(RouterConfig::default(), surroundings);
    let settings = checked.map_err(|faults| usage(faults.to_string()))?.proxy;
    let watcher = EngineWatcher::new(url.clone(), &settings);
    let models = watcher.models().await.map_err(|why| unanswered(args, why))?;
    let served = served(args, &models)?;
    let fields = Map::from_iter([
        ("model".to_owned(), json!(served.id)),
        // Answers have the length that is asked for.
        ("ignore_eos".to_owned(), json!(true)),
    ]);
    let prober = Prober::new(LoadTarget::new("engine", url, headers, &Arc::default()), fields, REQUEST_LIMIT);
    let limit = Duration::from_secs(args.max_secs.into());
    let mut bench = Bench::new(prober, watcher, limit, args.max_requests, args.force);
    let look = bench.begin().await?;
    let about = about(args, &served, &look);
    about.iter().for_each(|line| say(line));
    if look.busy.is_none() {
        say("the engine does not tell its load: whether somebody else uses it cannot be seen");
    }
    let allowed = served.max_model_len.map_or(u32::MAX, |tokens| tokens.saturating_sub(ROOM));
    let longest = bench.warm_up(args.max_prompt_tokens.min(allowed)).await?;
    let mut measured = Measurements { told: told(&look), ..Measurements::default() };
    for round in 1..=args.rounds {
        if !bench.may_ask(1) {
            say("the limit of time or of requests is reached");
            break;
        }
        say(&format!("round {round} of {}: prompts up to {longest} tokens", args.rounds));
        probes::round(&mut bench, longest, args.max_batch, &mut measured).await?;
        bench.rest().await?;
    }
    Ok((about, measured))
}

/// The model that is asked for, and what is known of it.
fn served(args: &CalibrateArgs, models: &[ServedModel]) -> Result<ServedModel, CalibrateError> {
    let listed = match &args.model {
        Some(name) => models.iter().find(|model| model.id == *name),
        None => models.first(),
    };
    match (listed, &args.model) {
        (Some(model), _) => Ok(model.clone()),
        // It may be served without being listed.
        (None, Some(name)) => Ok(ServedModel { id: name.clone(), max_model_len: None }),
        (None, None) => {
            Err(usage("--model: needed, since the engine does not list its models at /v1/models".to_owned()))
        }
    }
}

fn told(look: &EngineLook) -> ToldByEngine {
    ToldByEngine {
        kv_tokens: look.facts.kv_capacity_tokens,
        block_tokens: look.facts.block_size,
        max_sequences: look.facts.max_running_requests,
        reports: Some(match (look.busy, look.engine) {
            (None, _) => ReportedLoad::None,
            (Some(_), Some("sglang")) => ReportedLoad::Sglang,
            (Some(_), _) => ReportedLoad::Vllm,
        }),
    }
}

fn about(args: &CalibrateArgs, model: &ServedModel, look: &EngineLook) -> Vec<String> {
    let engine = look.engine.unwrap_or("an engine that is not known");
    let version = look.version.as_deref().unwrap_or("of an unknown version");
    let date = httpdate::fmt_http_date(SystemTime::now());
    // Names are what an engine says: on one line in any case.
    let id: String = model.id.chars().filter(|c| !c.is_control()).collect();
    vec![
        format!("{engine} {version} with {id} at {}", without_user(&args.url)),
        format!("measured by sgl-router calibrate {}, {date}", env!("CARGO_PKG_VERSION")),
    ]
}

fn headers(texts: &[String]) -> Result<HeaderMap, CalibrateError> {
    let header = |text: &String| {
        let (name, value) = text.split_once(':')?;
        Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
    };
    // The value may be a secret.
    let fault = || usage("--header: allowed: NAME: VALUE".to_owned());
    texts.iter().map(|text| header(text).ok_or_else(fault)).collect()
}

fn usage(text: String) -> CalibrateError {
    CalibrateError::Usage(text)
}

fn print(text: &str) -> Result<(), CalibrateError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unwritten(Path::new("-")))
}

fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> CalibrateError {
    let path = path.to_owned();
    |source| CalibrateError::Report { path, source }
}
