//! Keys: which workers ask for, and which clients have.

use std::path::PathBuf;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::config::client_key_file::{ClientKeyEntry, KeyHashes, read_client_keys};
use crate::config::secret::Secret;
use sglang_router_rs::config::Fault;
use sglang_router_rs::types::{file, shown_path};

/// Largest file of one key that is read, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 16;

/// `[keys]`: which keys workers ask for, and which clients have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysSection {
    /// Key that workers are shown as `authorization: Bearer …`, with requests, checks and questions alike.
    /// Default: none; the environment variable `SGL_ROUTER_WORKER_API_KEY` is another way.
    #[serde(skip_serializing)]
    pub worker_api_key: Option<Secret>,
    /// File that holds it. Default: none.
    pub worker_api_key_file: Option<PathBuf>,
    /// File of clients' keys: `[[keys]]` with `name`, `sha256` and limits. Requests without one of them are
    /// answered with 401. Default: none, anybody may send requests.
    pub clients_file: Option<PathBuf>,
    /// Whether clients must show the workers' key too, where there is no file of clients' keys. Default:
    /// false, and true with the flag `--api-key`, which means so in SGLang's router.
    pub clients_show_worker_key: bool,
}

/// Name of the workers' key, where clients show it.
const WORKER_KEY_NAME: &str = "worker-api-key";

/// The same, checked and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// What workers are shown.
    pub worker: Option<HeaderValue>,
    /// Clients' keys, and the file that held them, if there is one; `None` = anybody may send requests.
    pub clients: Option<(Option<PathBuf>, Vec<ClientKeyEntry>)>,
}

impl KeySettings {
    /// The settings; `environment` is the variable's value.
    pub(crate) fn checked(section: &KeysSection, environment: Option<&str>, faults: &mut Vec<Fault>) -> Self {
        let given = section.worker_api_key.clone().or_else(|| environment.map(Secret::new));
        let worker = match &section.worker_api_key_file {
            Some(path) => read_key(path, "keys.worker_api_key_file", faults),
            None => given,
        };
        let shown_by_clients = worker.clone().filter(|_| section.clients_show_worker_key);
        if section.clients_show_worker_key && worker.is_none() {
            let allowed = "true only with a worker's key (--api-key, worker_api_key_file)";
            faults.push(Fault::value("keys.clients_show_worker_key", true, allowed));
        }
        let worker = worker.and_then(|key| header_of(&key, "keys.worker_api_key", faults));
        let clients = match &section.clients_file {
            Some(path) => read_client_keys(path)
                .map(|keys| (Some(path.clone()), keys))
                .map_err(|error| {
                    faults.push(Fault::text("keys.clients_file", None, error));
                })
                .ok(),
            None => shown_by_clients.map(|key| (None, vec![worker_key(&key)])),
        };
        Self { worker, clients }
    }
}

/// The workers' key, as one of clients.
fn worker_key(key: &Secret) -> ClientKeyEntry {
    ClientKeyEntry {
        name: WORKER_KEY_NAME.to_owned(),
        sha256: KeyHashes::One(key.sha256()),
        max_concurrent_requests: None,
        requests_per_minute: None,
        tokens_per_minute: None,
    }
}

/// The key in a file.
pub(crate) fn read_key(path: &std::path::Path, key: &str, faults: &mut Vec<Fault>) -> Option<Secret> {
    match file::read_text(path, MAX_KEY_BYTES) {
        Ok(text) => Some(Secret::new(&text)),
        Err(error) => {
            let found = format!("{} ({error})", shown_path(path));
            faults.push(Fault::value(key, found, "a regular file that can be read"));
            None
        }
    }
}

/// How the key is shown.
pub(crate) fn header_of(secret: &Secret, key: &str, faults: &mut Vec<Fault>) -> Option<HeaderValue> {
    let header = secret.bearer();
    if header.is_none() {
        let found = "a key that no header can hold";
        faults.push(Fault::value(key, found, "visible ASCII characters, at least one"));
    }
    header
}
