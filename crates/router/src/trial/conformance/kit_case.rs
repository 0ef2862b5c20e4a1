//! A case of the kit.

use serde::Serialize;

use crate::trial::conformance::kit_session::KitSession;
use crate::trial::described_worker::DescribedWorker;
use crate::trial::tried_plugin::{TrialEngine, TrialSettings};
use sglang_router_rs::policies::ModuleBytes;
use sglang_router_rs::types::in_full;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KitVerdict {
    /// As it must.
    Passed,
    /// It says nothing of this plugin, for this reason.
    Skipped(&'static str),
}

/// A case of the kit.
pub(crate) struct KitCase {
    /// Its name: `group/what`.
    pub(crate) name: &'static str,
    /// What an author must do when it fails, as a sentence.
    pub(crate) remedy: &'static str,
    /// Runs it.
    pub(crate) run: fn(&KitBench<'_>) -> Result<KitVerdict, String>,
}

/// Where cases get fresh plugins from.
#[derive(Debug)]
pub(crate) struct KitBench<'a> {
    pub(crate) engine: &'a TrialEngine,
    pub(crate) module: &'a ModuleBytes,
    pub(crate) settings: &'a TrialSettings,
}

/// What was found of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct KitFinding {
    /// Its name.
    pub(crate) case: &'static str,
    /// How it ended.
    pub(crate) result: KitResult,
    /// What was wrong, or why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<String>,
    /// What an author must do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<&'static str>,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KitResult {
    Passed,
    Failed,
    Skipped,
}

impl<'a> KitBench<'a> {
    /// A fresh plugin over these workers.
    ///
    /// # Errors
    ///
    /// It is not loaded.
    pub(crate) fn session(&self, workers: &[DescribedWorker]) -> Result<KitSession<'a>, String> {
        self.session_with(self.settings, workers)
    }

    /// The same with other settings.
    ///
    /// # Errors
    ///
    /// It is not loaded.
    pub(crate) fn session_with(
        &self,
        settings: &TrialSettings,
        workers: &[DescribedWorker],
    ) -> Result<KitSession<'a>, String> {
        let plugin = self.engine.load(self.module, settings);
        Ok(KitSession::new(
            plugin.map_err(|error| format!("it is not loaded: {}", in_full(&error)))?,
            workers,
        ))
    }
}

impl KitCase {
    /// Runs it.
    pub(crate) fn find(&self, bench: &KitBench<'_>) -> KitFinding {
        let case = self.name;
        match (self.run)(bench) {
            Ok(KitVerdict::Passed) => {
                KitFinding { case, result: KitResult::Passed, found: None, remedy: None }
            }
            Ok(KitVerdict::Skipped(why)) => {
                KitFinding { case, result: KitResult::Skipped, found: Some(why.to_owned()), remedy: None }
            }
            Err(found) => {
                KitFinding { case, result: KitResult::Failed, found: Some(found), remedy: Some(self.remedy) }
            }
        }
    }
}
