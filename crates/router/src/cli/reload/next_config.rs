//! What was read from the configuration, again.

use std::collections::BTreeMap;

use http::{HeaderValue, StatusCode};

use crate::admin::plugins::refusal::fault_view;
use crate::cli::configuration::configuration;
use crate::cli::flags::ServeArgs;
use crate::config::checked::CheckedConfig;
use crate::config::worker_entry::WorkerEntry;
use crate::config::written_keys::{HIDDEN, WrittenKeys};
use crate::manage::digest::sha256;
use crate::tokens::TokenizerSet;
use sgl_api::{ChangedValue, Problem};
use sgl_upstream::WorkerUrl;
use sglang_router_rs::config::{Faults, TrustRule};
use sglang_router_rs::policies::TrustPolicy;
use sglang_router_rs::policies::trust::KeyFault;

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration has faults.
    #[error("nothing reloaded: {0}")]
    Faults(#[from] Faults),
    /// A key of a rule about signatures cannot be used.
    #[error("nothing reloaded: a rule about signatures cannot be used: {0}")]
    Trust(#[from] KeyFault),
    /// The router is stopping.
    #[error("the router is stopping")]
    Stopping,
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let detail = error.to_string();
        match &error {
            ReloadError::Faults(Faults(faults)) => {
                let faults = faults.iter().map(fault_view).collect();
                let problem = Self::coded(StatusCode::UNPROCESSABLE_ENTITY, "config_faults", detail);
                Self { faults, ..problem }
            }
            ReloadError::Trust(_) => Self::coded(StatusCode::UNPROCESSABLE_ENTITY, "trust_keys", detail),
            ReloadError::Stopping => Self::coded(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail),
        }
    }
}

/// A configuration with what its files hold.
#[derive(Debug)]
pub(crate) struct NextConfig {
    pub(crate) config: CheckedConfig,
    pub(crate) tokenizers: TokenizerSet,
    pub(crate) trust: TrustPolicy,
}

impl NextConfig {
    /// Reads all of it; tokenizers that say the same as `before` go on. Reads from the disk.
    ///
    /// # Errors
    ///
    /// [`ReloadError`], with all faults of the configuration.
    pub(crate) fn read(
        args: &ServeArgs,
        before: &TokenizerSet,
        cache_bytes: u64,
    ) -> Result<Self, ReloadError> {
        let config = configuration(args)?;
        let tokenizers = TokenizerSet::load(&config.tokenizers, cache_bytes, before)?;
        let trust = TrustPolicy::new(config.trust.clone());
        trust.check_keys()?;
        Ok(Self { config, tokenizers, trust })
    }
}

/// The part of a configuration that a running router compares with the next one.
#[derive(Debug)]
pub(crate) struct Applied {
    /// What the router was started with; a reload does not follow it.
    fixed: WrittenKeys,
    /// Only digests, so that nothing printed reveals a secret.
    secrets: [(&'static str, Option<String>); 2],
    pub(crate) trust: Vec<TrustRule>,
}

impl Applied {
    pub(crate) fn of(config: &CheckedConfig) -> Self {
        let digest = |secret: Option<&[u8]>| secret.map(sha256);
        let worker_key = config.proxy.keys.worker.as_ref().map(HeaderValue::as_bytes);
        // One in a file is followed.
        let token = config.admin_token.as_deref().filter(|_| config.admin_token_file.is_none());
        let secrets =
            [("admin.token", digest(token.map(str::as_bytes))), ("keys.worker_api_key", digest(worker_key))];
        Self { fixed: WrittenKeys::of(&config.fixed), secrets, trust: config.trust.clone() }
    }

    /// The keys that are written otherwise in `now` and need a restart.
    pub(crate) fn left(&self, now: &Self) -> Vec<ChangedValue> {
        let mut left = self.fixed.changed(&now.fixed, &[]);
        for ((key, before), (_, now)) in self.secrets.iter().zip(&now.secrets) {
            let told = |secret: &Option<String>| secret.as_ref().map(|_| HIDDEN.to_owned());
            if before != now {
                left.push(ChangedValue { key: (*key).to_owned(), before: told(before), now: told(now) });
            }
        }
        left
    }
}

/// The workers of a configuration, by their URLs as the fleet knows them.
pub(crate) fn workers_of(config: &CheckedConfig) -> BTreeMap<String, WorkerEntry> {
    let normal = |entry: &WorkerEntry| {
        let url = WorkerUrl::parse(&entry.url).map_or_else(|_| entry.url.clone(), |url| url.to_string());
        (url, entry.clone())
    };
    config.workers.iter().map(normal).collect()
}
