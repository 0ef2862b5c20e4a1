//! The checks of workers.

use std::collections::HashSet;

use crate::config::checked::{DAY_SECS, MAX_DP_SIZE};
use crate::config::engine_setting::EngineSetting;
use crate::config::keys_section::{header_of, read_key};
use crate::config::worker_entry::WorkerEntry;
use sgl_upstream::WorkerUrl;
use sglang_router_rs::config::Fault;
use sglang_router_rs::core::WorkerRole;

/// Longest name of a model in bytes; of what workers list, longer ones are not known either.
const MAX_MODEL_BYTES: usize = 256;

/// Longest URL that is shown though it is none.
const MAX_SHOWN_BYTES: usize = 512;

/// Adds the faults of one worker, and brings its URL into its normal form.
pub(crate) fn check_worker(worker: &WorkerEntry, path: &str, faults: &mut Vec<Fault>) -> WorkerEntry {
    let mut checked = worker.clone();
    let within = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match WorkerUrl::parse(&worker.url) {
        Ok(url) => checked.url = url.to_string(),
        Err(allowed) => {
            let found = match worker.url.len() {
                0..=MAX_SHOWN_BYTES => format!("{:?}", WorkerUrl::refused(&worker.url)),
                long => format!("{long} bytes"),
            };
            let is_grpc = worker.url.starts_with("grpc");
            let instead =
                if is_grpc { "; engines are asked over HTTP: start them without --grpc-mode" } else { "" };
            faults.push(Fault::value(within("url"), found, format!("{allowed}{instead}")));
        }
    }
    // Policies see it in 32 bits.
    if !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&worker.weight) {
        faults.push(Fault::value(
            within("weight"),
            worker.weight,
            "a number above 0, from 1.2e-38 to 3.4e38",
        ));
    }
    match worker.model.as_deref() {
        Some("") => faults.push(Fault::value(within("model"), "\"\"", "a model's name, or leave it out")),
        Some(model) if model.len() > MAX_MODEL_BYTES => {
            let allowed = format!("a model's name of at most {MAX_MODEL_BYTES} bytes");
            faults.push(Fault::value(within("model"), format!("{} bytes", model.len()), allowed));
        }
        _ => {}
    }
    for (key, secs) in [
        ("first_byte_timeout_secs", worker.first_byte_timeout_secs),
        ("silence_timeout_secs", worker.silence_timeout_secs),
    ] {
        if let Some(secs) = secs.filter(|secs| *secs > DAY_SECS) {
            faults.push(Fault::value(within(key), secs, format!("0 to {DAY_SECS}")));
        }
    }
    check_key(&mut checked, path, faults);
    if let Some(size) = worker.dp_size.filter(|size| !(1..=MAX_DP_SIZE).contains(size)) {
        faults.push(Fault::value(within("dp_size"), size, format!("1 to {MAX_DP_SIZE}")));
    }
    let has_ranks = !matches!(worker.engine, EngineSetting::Llamacpp | EngineSetting::None);
    if let (Some(size), false) = (worker.dp_size, has_ranks && worker.dp_aware != Some(false)) {
        let allowed = "only where `dp_aware` is not false, and with an engine that has ranks";
        faults.push(Fault::value(within("dp_size"), size, allowed));
    }
    if let (Some(port), false) = (worker.bootstrap_port, worker.role == WorkerRole::Prefill) {
        faults.push(Fault::value(within("bootstrap_port"), port, "only with role = \"prefill\""));
    }
    checked
}

/// Reads a worker's own key, if it is in a file.
fn check_key(worker: &mut WorkerEntry, path: &str, faults: &mut Vec<Fault>) {
    let within = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(file) = worker.api_key_file.take() {
        if path.is_empty() {
            // Who adds workers over HTTP is not to have the router read files to them.
            faults.push(Fault::value(within("api_key_file"), "a file", "only in the configuration file"));
            return;
        }
        worker.api_key = read_key(&file, &within("api_key_file"), faults);
    }
    if let Some(key) = &worker.api_key {
        header_of(key, &within("api_key"), faults);
    }
}

pub(crate) fn check_workers(workers: &[WorkerEntry], faults: &mut Vec<Fault>) -> Vec<WorkerEntry> {
    let mut checked: Vec<WorkerEntry> = Vec::with_capacity(workers.len());
    let mut urls = HashSet::with_capacity(workers.len());
    for (position, worker) in workers.iter().enumerate() {
        let path = format!("workers[{position}]");
        let worker = check_worker(worker, &path, faults);
        if !urls.insert(worker.url.clone()) {
            let allowed = "a URL that no other worker has";
            let found = format!("{:?}", WorkerUrl::refused(&worker.url));
            faults.push(Fault::value(format!("{path}.url"), found, allowed));
        }
        checked.push(worker);
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_refused_with_their_lengths() {
        let faults = |worker: WorkerEntry| {
            let mut faults = Vec::new();
            check_worker(&worker, "w", &mut faults);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let named = |bytes: usize| WorkerEntry {
            url: "http://w".to_owned(),
            model: Some("m".repeat(bytes)),
            ..WorkerEntry::default()
        };
        assert_eq!(faults(named(MAX_MODEL_BYTES)), "");
        assert_eq!(
            faults(named(MAX_MODEL_BYTES + 1)),
            "w.model: found 257 bytes; allowed: a model's name of at most 256 bytes"
        );
        let told =
            faults(WorkerEntry { url: format!("http://{}", "h".repeat(100_000)), ..WorkerEntry::default() });
        assert!(
            told.starts_with("w.url: found 100007 bytes; allowed: `http://host`") && told.len() < 300,
            "{told}"
        );
    }

    #[test]
    fn ranks_are_bounded_and_only_of_engines_that_have_them() {
        let faulty = |worker: WorkerEntry| {
            let mut faults = Vec::new();
            check_worker(&WorkerEntry { url: "http://w".to_owned(), ..worker }, "w", &mut faults);
            faults.iter().filter(|fault| fault.path == "w.dp_size").count()
        };
        let sized = |dp_size| WorkerEntry { dp_size: Some(dp_size), ..WorkerEntry::default() };
        assert_eq!(
            [faulty(sized(0)), faulty(sized(257)), faulty(sized(1)), faulty(sized(256))],
            [1, 1, 0, 0]
        );
        assert_eq!(faulty(WorkerEntry { dp_aware: Some(true), ..sized(8) }), 0);
        assert_eq!(faulty(WorkerEntry { dp_aware: Some(false), ..sized(8) }), 1);
        for (engine, expected) in [
            (EngineSetting::Sglang, 0),
            (EngineSetting::Vllm, 0),
            (EngineSetting::Llamacpp, 1),
            (EngineSetting::None, 1),
        ] {
            assert_eq!(faulty(WorkerEntry { engine, ..sized(8) }), expected, "{engine:?}");
        }
    }
}
