//! The form of a file of cases.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::config::near_names::nearest_first;
use crate::trial::cases::expectation::Expectation;
use crate::trial::described_fleet::{check, described_fleet};
use crate::trial::described_request::{DescribedRequest, WorkerName};
use crate::trial::described_worker::{DescribedWorker, WorkerOrUrl};

/// A file of cases.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CaseFile {
    /// The plugin's own configuration in all of them.
    pub(crate) config: HashMap<String, Value>,
    /// What chance follows from.
    pub(crate) seed: Option<u64>,
    /// The cases.
    pub(crate) case: Vec<WrittenCase>,
}

/// A case: a fleet, and steps in a row. One of a single step may do without.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenCase {
    pub(crate) name: String,
    workers: Option<WrittenFleet>,
    /// The plugin's own configuration in this case, beside that of the file.
    pub(crate) config: HashMap<String, Value>,
    pub(crate) seed: Option<u64>,
    request: Option<DescribedRequest>,
    times: Option<u32>,
    expect: Option<Expectation>,
    step: Vec<CaseStep>,
}

/// A fleet: so many idle workers, a list of them, or a file.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WrittenFleet {
    Idle(usize),
    File(String),
    List(Vec<Value>),
}

/// What happens, in this order: workers go, come and change, time passes, a request goes on, the plugin is
/// swapped, and then it decides.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CaseStep {
    pub(crate) remove: Vec<WorkerName>,
    pub(crate) add: Vec<WorkerOrUrl>,
    pub(crate) set: Vec<DescribedWorker>,
    pub(crate) advance_ms: u64,
    /// The oldest request kept under this name gets its first token.
    pub(crate) first_token: Option<String>,
    /// The oldest request kept under this name ends.
    pub(crate) complete: Option<String>,
    /// What is known of it then.
    pub(crate) outcome: Option<Value>,
    pub(crate) end_session: Option<String>,
    pub(crate) swap: bool,
    pub(crate) request: Option<DescribedRequest>,
    /// How often it is decided.
    pub(crate) times: Option<u32>,
    /// It stays in flight under this name.
    pub(crate) keep: Option<String>,
    pub(crate) expect: Option<Expectation>,
}

impl CaseFile {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is wrong with it and where: a name that is none comes with the nearest ones.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| nearest_first(&error.to_string()))?;
        if file.case.is_empty() {
            return Err("it has no case; each begins with [[case]]".to_owned());
        }
        let unnamed = file.case.iter().position(|case| case.name.is_empty());
        unnamed.map_or(Ok(file), |number| Err(format!("case {} has no name", number + 1)))
    }
}

impl WrittenCase {
    /// Its workers; files are looked for in `folder`.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn fleet(&self, folder: &Path) -> Result<Vec<DescribedWorker>, String> {
        match &self.workers {
            None => Err("workers: it has none; give a number of idle ones, a list or a file".to_owned()),
            Some(WrittenFleet::Idle(count)) => Ok(vec![DescribedWorker::default(); (*count).min(100_000)]),
            Some(WrittenFleet::File(file)) => {
                let text = std::fs::read_to_string(folder.join(file));
                let text = text.map_err(|error| format!("workers: {file}: {error}"))?;
                described_fleet(&text).map_err(|fault| format!("workers: {file}: {fault}"))
            }
            Some(WrittenFleet::List(list)) => {
                let one = |(index, value): (usize, &Value)| {
                    let worker = WorkerOrUrl::deserialize(value).map(|worker| worker.0);
                    worker.map_err(|error| format!("workers[{index}]: {}", nearest_first(&error.to_string())))
                };
                let workers: Vec<DescribedWorker> =
                    list.iter().enumerate().map(one).collect::<Result<_, _>>()?;
                check(&workers)?;
                Ok(workers)
            }
        }
    }

    /// Its steps.
    ///
    /// # Errors
    ///
    /// It has both steps and what a single step has.
    pub(crate) fn into_steps(self) -> Result<Vec<CaseStep>, String> {
        let Self { request, times, expect, step, .. } = self;
        let is_single = request.is_some() || times.is_some() || expect.is_some();
        match (is_single, step.is_empty()) {
            (false, false) => Ok(step),
            (_, true) => {
                let request = Some(request.unwrap_or_default());
                let expect = Some(expect.unwrap_or_default());
                Ok(vec![CaseStep { request, times, expect, ..CaseStep::default() }])
            }
            (true, false) => {
                Err("it has steps, and request, times or expect beside them: write these into a step"
                    .to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_is_none_comes_with_its_line_and_the_nearest_first() {
        let fault = CaseFile::read("[[case]]\nname = \"a\"\nexpect = { wroker = 1 }").unwrap_err();
        assert!(
            fault.contains("line 3") && fault.contains("unknown field `wroker`, expected one of `worker`"),
            "{fault}"
        );
        for (text, part) in [
            ("", "it has no case"),
            ("[[case]]\nworkers = 1", "case 1 has no name"),
            ("[[cases]]", "unknown field `cases`, expected one of `case`"),
        ] {
            let fault = CaseFile::read(text).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn fleet_is_a_number_a_list_or_a_file() {
        let file = CaseFile::read(
            "[[case]]\nname = \"a\"\nworkers = 3\n[[case]]\nname = \"b\"\nworkers = [\"http://a\", { laod = 1 }]\n\
             [[case]]\nname = \"c\"",
        );
        let cases = file.unwrap().case;
        let folder = Path::new(".");
        assert_eq!(cases[0].fleet(folder).unwrap().len(), 3);
        let fault = cases[1].fleet(folder).unwrap_err();
        assert!(fault.starts_with("workers[1]: unknown field `laod`, expected one of `load`"), "{fault}");
        assert!(cases[2].fleet(folder).unwrap_err().contains("it has none"));
    }
}
