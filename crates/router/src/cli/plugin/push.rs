//! `push`: sends a module and follows its load.

use std::io::{IsTerminal, Write};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::plugin::args::PushArgs;
use crate::cli::plugin::client::{AdminClient, Call, encoded, json_type, module_type};
use crate::cli::plugin::command_error::{CommandError, KeyOfFlag};
use crate::cli::plugin::signing::detached;
use crate::cli::plugin::table::short;
use crate::cli::registry_reading::reference_in;
use crate::cli::setting::setting;
use crate::config::embedded_path::embedded_name;
use sgl_api::{AfterRestart, NDJSON, ProgressLine, Pushed, SIGNATURE_HEADER};
use sgl_oci::ModuleReference;
use sgl_upstream::AnswerBody;
use sglang_router_rs::config::RolloutMode;
use sglang_router_rs::policies::LoadStep;
use sglang_router_rs::types::{hex, printable, shown_path};

/// The flags that set keys of the settings.
const FLAGS: &[KeyOfFlag] = &[
    ("name", "--name"),
    ("options.rollout.percent", "--canary"),
    ("options.rollout.min_secs", "--canary-secs"),
    ("options.rollout.min_decisions", "--canary-decisions"),
    ("options.rollout.every", "--shadow"),
    ("max_execution_time_ms", "--time-ms"),
    ("max_memory_bytes", "--memory"),
    ("allowed_syscalls", "--allow-syscall"),
    ("options.digest", "--digest"),
];

/// Loads a module. With `json` the result goes to standard output as one line; otherwise a line for
/// people does, and progress goes to standard error.
///
/// # Errors
///
/// [`CommandError`].
///
/// # Cancel safety
///
/// The router goes on loading if the future is dropped after the module was sent.
pub(crate) async fn push(client: &AdminClient, args: &PushArgs, json: bool) -> Result<(), CommandError> {
    let OutgoingModule { name, headers, body } = sent(args).await?;
    let path = format!("/v1/plugins/{}{}", encoded(&name), query(args)?);
    let answer = client.send(Call { method: Method::PUT, path, accept: NDJSON, headers, body }).await?;
    let pushed = follow(client, answer, json).await?;
    let mut out = std::io::stdout().lock();
    if json {
        let text = serde_json::to_string(&pushed).map_err(|error| CommandError::Answer(error.to_string()))?;
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{}", said(&pushed))?;
    }
    Ok(())
}

/// What is sent of a module.
struct OutgoingModule {
    name: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// The bytes of a file, or the name of a module that the router has itself or reads from a registry.
async fn sent(args: &PushArgs) -> Result<OutgoingModule, CommandError> {
    let name = |other: String| args.name.clone().unwrap_or(other);
    let path = args.file.to_string_lossy();
    if let Some(module) = embedded_name(&path) {
        if args.signature.is_some() {
            let needless = "--signature: an embedded module has none, and needs none";
            return Err(CommandError::Usage(needless.to_owned()));
        }
        let headers = vec![json_type()];
        let body = json!({ "file": path }).to_string().into();
        return Ok(OutgoingModule { name: name(module.to_owned()), headers, body });
    }
    if let Some(reference) = reference_in(&args.file)? {
        if args.signature.is_some() {
            let needless = "--signature: of a module at a registry, signatures are read from there";
            return Err(CommandError::Usage(needless.to_owned()));
        }
        let body = json!({ "file": path }).to_string().into();
        let name = name(reference.stem().to_owned());
        return Ok(OutgoingModule { name, headers: vec![json_type()], body });
    }
    let unreadable = |error| CommandError::Usage(format!("{}: {error}", shown_path(&args.file)));
    let body = Bytes::from(tokio::fs::read(&args.file).await.map_err(unreadable)?);
    let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut headers = vec![module_type()];
    let signature = detached(&args.file, args.signature.as_deref())?;
    headers.extend(signature.map(|bytes| (SIGNATURE_HEADER, hex::encode(&bytes))));
    Ok(OutgoingModule { name: name(stem), headers, body })
}

fn said(pushed: &Pushed) -> String {
    let how = match pushed.rollout {
        RolloutMode::Canary => "is a canary",
        RolloutMode::Shadow => "is a shadow",
        RolloutMode::Immediate if pushed.in_use => "serves",
        RolloutMode::Immediate => "is loaded",
    };
    let (name, generation, digest) = (printable(&pushed.name), pushed.generation, short(&pushed.digest));
    let mut text =
        format!("{name}: generation {generation} {how} (sha256 {digest}, {} ms)", pushed.elapsed_ms);
    if let Some(id) = pushed.displaced {
        text.push_str(&format!("; generation {id}, which was on trial, is dropped"));
    }
    if ModuleReference::is_one(&pushed.module) {
        text.push_str(&format!("\n  {}", printable(&pushed.module)));
    }
    if !pushed.in_use {
        text.push_str("\n  not in use: the router's policy is another one (`list` shows USED no)");
    }
    text.push_str(match pushed.after_restart {
        AfterRestart::Kept => "",
        AfterRestart::Configured => {
            "\n  until a restart, or a reload after its file changed: the configuration names this plugin, too, and wins then"
        }
        AfterRestart::Gone => "\n  until a restart only: the router has no --state-dir",
    });
    text
}

/// The settings as a query: each value as JSON.
fn query(args: &PushArgs) -> Result<String, CommandError> {
    let mut pairs: Vec<(&str, Value)> = Vec::new();
    pairs.extend(args.time_ms.map(|ms| ("max_execution_time_ms", json!(ms))));
    pairs.extend(args.memory.map(|bytes| ("max_memory_bytes", json!(bytes))));
    if !args.allow_syscall.is_empty() {
        pairs.push(("allowed_syscalls", json!(args.allow_syscall)));
    }
    if !args.config.is_empty() {
        pairs.push(("config", Value::Object(own_config(&args.config)?)));
    }
    let options = options(args)?;
    if !options.is_empty() {
        pairs.push(("options", Value::Object(options)));
    }
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{key}={}", encoded(&value.to_string()))).collect();
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// The plugin's own configuration, from texts `KEY=VALUE`.
///
/// # Errors
///
/// [`CommandError::Usage`] for another text.
pub(crate) fn own_config(texts: &[String]) -> Result<Map<String, Value>, CommandError> {
    let pair = |text: &String| {
        let (key, value) = setting(text)
            .ok_or_else(|| CommandError::Usage(format!("--config: found {text:?}; allowed: KEY=VALUE")))?;
        Ok((key.to_owned(), value))
    };
    texts.iter().map(pair).collect()
}

fn options(args: &PushArgs) -> Result<Map<String, Value>, CommandError> {
    if args.canary.is_none() && (args.canary_secs.is_some() || args.canary_decisions.is_some()) {
        let needed = "--canary-secs and --canary-decisions go with --canary PERCENT, which is not given";
        return Err(CommandError::Usage(needed.to_owned()));
    }
    let mut options: Map<String, Value> = match &args.options {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| CommandError::Usage(format!("--options: not a JSON object: {error}")))?,
        None => Map::new(),
    };
    options.extend(args.digest.iter().map(|digest| ("digest".to_owned(), json!(digest))));
    options
        .extend(args.shadow.map(|every| ("rollout".to_owned(), json!({"mode": "shadow", "every": every}))));
    if let Some(percent) = args.canary {
        let mut rollout = json!({"mode": "canary", "percent": percent});
        if let Value::Object(rollout) = &mut rollout {
            rollout.extend(args.canary_secs.map(|secs| ("min_secs".to_owned(), json!(secs))));
            rollout.extend(args.canary_decisions.map(|count| ("min_decisions".to_owned(), json!(count))));
        }
        options.insert("rollout".to_owned(), rollout);
    }
    Ok(options)
}

/// Reads lines until the last.
async fn follow(client: &AdminClient, mut body: AnswerBody, json: bool) -> Result<Pushed, CommandError> {
    let mut meter = Meter::new(json);
    let mut text: Vec<u8> = Vec::new();
    while let Some(piece) = client.piece(&mut body).await? {
        text.extend_from_slice(&piece);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line).map_err(|error| CommandError::Answer(error.to_string()))? {
                ProgressLine::Step { step, elapsed_ms } => meter.step(word(step), elapsed_ms),
                ProgressLine::Result { result } => {
                    meter.end();
                    return Ok(result);
                }
                ProgressLine::Problem { problem } => {
                    meter.end();
                    return Err(CommandError::refused_load(problem, FLAGS));
                }
            }
        }
    }
    meter.end();
    Err(CommandError::Answer("it ended before it said what came of the load".to_owned()))
}

/// A step, spelled as the router does.
fn word(step: LoadStep) -> String {
    serde_json::to_value(step).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The progress line: on a terminal it overwrites itself, elsewhere each step gets a line.
struct Meter {
    silent: bool,
    terminal: bool,
    steps: Vec<String>,
}

impl Meter {
    fn new(silent: bool) -> Self {
        Self { silent, terminal: std::io::stderr().is_terminal(), steps: Vec::new() }
    }

    fn step(&mut self, step: String, elapsed_ms: u64) {
        if self.silent {
            return;
        }
        let mut out = std::io::stderr().lock();
        let line = format!("{elapsed_ms:>6} ms  {step}");
        self.steps.push(step);
        // The load goes on without its progress if that cannot be written.
        let _ = if self.terminal {
            write!(out, "\r\x1b[K{} … {elapsed_ms} ms", self.steps.join(" · "))
        } else {
            writeln!(out, "{line}")
        };
        let _ = out.flush();
    }

    fn end(&mut self) {
        if self.terminal && !self.silent && !self.steps.is_empty() {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}
