//! The flags of `sgl-router simulate` that say what requests and workers have besides prompts and speeds.

use std::collections::BTreeMap;

use clap::Args;

use crate::cli::simulate::error::SimulateError;
use sgl_simulate::workload::{AnswerLimit, HeaderMix, MAX_HEADER_VALUES, RequestTraits};

/// What requests and workers have besides.
#[derive(Args, Clone, Debug, Default)]
pub struct TraitArgs {
    /// A header that some requests have, and the share of them that has each value; all requests of a session
    /// have the same: priority=high:0.2,low:0.8; may be given more than once
    #[arg(long, value_name = "NAME=VALUE:SHARE,…", value_parser = HeaderMix::parse, help_heading = "Requests and workers")]
    pub header_mix: Vec<HeaderMix>,
    /// `max_tokens` of requests: a number, or xFACTOR for so many times the tokens of the answer [default: what
    /// decision records say; else none]
    #[arg(long, value_name = "TOKENS|xFACTOR", value_parser = AnswerLimit::parse, help_heading = "Requests and workers")]
    pub max_tokens: Option<AnswerLimit>,
    /// Reports requests apart whose prompts have so many tokens or more
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Requests and workers")]
    pub long_from: Option<u32>,
    /// A label of workers: how many of them, from the first on, have each value: pool=short:6,long:2; may be given
    /// more than once
    #[arg(long, value_name = "NAME=VALUE:COUNT,…", value_parser = WorkerLabel::parse, help_heading = "Requests and workers")]
    pub worker_labels: Vec<WorkerLabel>,
}

/// A label, and how many workers have each of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLabel {
    name: String,
    values: Vec<(String, usize)>,
}

impl WorkerLabel {
    fn parse(text: &str) -> Result<Self, String> {
        let value = |part: &str| {
            let (value, count) = part.rsplit_once(':')?;
            Some((value.to_owned(), count.parse::<usize>().ok()?)).filter(|_| !value.is_empty())
        };
        let parsed = text.split_once('=').filter(|(name, _)| !name.is_empty()).and_then(|(name, values)| {
            let values = values.split(',').map(value).collect::<Option<_>>()?;
            Some(Self { name: name.to_owned(), values })
        });
        let fault = || "allowed: NAME=VALUE:COUNT,VALUE:COUNT…, such as pool=short:6,long:2".to_owned();
        parsed.ok_or_else(fault)
    }

    /// How many workers have it.
    fn count(&self) -> usize {
        self.values.iter().map(|(_, count)| *count).fold(0, usize::saturating_add)
    }
}

impl TraitArgs {
    /// What tells requests apart.
    ///
    /// # Errors
    ///
    /// [`SimulateError::Usage`].
    pub(crate) fn traits(&self) -> Result<RequestTraits, SimulateError> {
        let twice = self
            .header_mix
            .iter()
            .enumerate()
            .find(|(place, mix)| self.header_mix.iter().take(*place).any(|other| other.name == mix.name));
        if let Some((_, mix)) = twice {
            return Err(SimulateError::Usage(format!("--header-mix: {} twice", mix.name)));
        }
        let values = self.header_mix.iter().map(|mix| mix.values.len()).sum::<usize>();
        if values > MAX_HEADER_VALUES {
            let fault = format!("--header-mix: found {values} values; allowed: {MAX_HEADER_VALUES} in all");
            return Err(SimulateError::Usage(fault));
        }
        Ok(RequestTraits {
            headers: self.header_mix.clone(),
            max_tokens: self.max_tokens.unwrap_or_default(),
            long_from: self.long_from,
        })
    }

    /// The labels of each of so many workers.
    ///
    /// # Errors
    ///
    /// [`SimulateError::Usage`] if there are not so many workers.
    pub(crate) fn labels(&self, workers: usize) -> Result<Vec<BTreeMap<String, String>>, SimulateError> {
        let mut all = vec![BTreeMap::new(); if self.worker_labels.is_empty() { 0 } else { workers }];
        for label in &self.worker_labels {
            let count = label.count();
            if count > workers {
                let fault = format!(
                    "--worker-labels: {} is for {count} workers, and there are {workers}",
                    label.name
                );
                return Err(SimulateError::Usage(fault));
            }
            let values = label.values.iter().flat_map(|(value, count)| std::iter::repeat_n(value, *count));
            for (own, value) in all.iter_mut().zip(values) {
                if own.insert(label.name.clone(), value.clone()).is_some() {
                    return Err(SimulateError::Usage(format!("--worker-labels: {} twice", label.name)));
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct TraitCommand {
        #[command(flatten)]
        args: TraitArgs,
    }

    fn parsed(flags: &[&str]) -> Result<TraitArgs, String> {
        let all = ["simulate"].iter().chain(flags);
        TraitCommand::try_parse_from(all).map(|command| command.args).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_go_to_the_first_workers_and_to_no_more_than_there_are() {
        let args = parsed(&["--worker-labels=pool=short:2,long:1", "--worker-labels", "zone=a:b:1"]).unwrap();
        let shown: Vec<String> = args.labels(4).unwrap().iter().map(|own| format!("{own:?}")).collect();
        assert_eq!(
            shown,
            [r#"{"pool": "short", "zone": "a:b"}"#, r#"{"pool": "short"}"#, r#"{"pool": "long"}"#, "{}"]
        );
        let error = args.labels(2).unwrap_err().to_string();
        assert_eq!(error, "--worker-labels: pool is for 3 workers, and there are 2");
        let twice = parsed(&["--worker-labels=a=x:1", "--worker-labels=a=y:1"]).unwrap().labels(2);
        assert_eq!(twice.unwrap_err().to_string(), "--worker-labels: a twice");
        assert!(parsed(&[]).unwrap().labels(3).unwrap().is_empty());
        for text in ["pool", "pool=short", "=short:1", "pool=:1", "pool=short:x", "pool=short:-1"] {
            let error = parsed(&["--worker-labels", text]).unwrap_err();
            assert!(error.contains("allowed: NAME=VALUE:COUNT"), "{text}: {error}");
        }
    }

    #[test]
    fn headers_are_mixed_in_once_each() {
        let flags = ["--header-mix=a=x:0.5", "--header-mix=b=x:0.5", "--max-tokens=x2", "--long-from=8192"];
        let traits = parsed(&flags).unwrap().traits().unwrap();
        let names: Vec<&str> = traits.headers.iter().map(|mix| mix.name.as_str()).collect();
        assert_eq!(
            (names, traits.max_tokens, traits.long_from),
            (vec!["a", "b"], AnswerLimit::Times(2.0), Some(8192))
        );
        let twice = parsed(&["--header-mix=a=x:0.5", "--header-mix=A=y:0.5"]).unwrap().traits();
        assert_eq!(twice.unwrap_err().to_string(), "--header-mix: a twice");
        let many = |name: &str| {
            let values: Vec<String> = (0..30).map(|number| format!("v{number}:0.01")).collect();
            format!("--header-mix={name}={}", values.join(","))
        };
        let error = parsed(&[&many("a"), &many("b")]).unwrap().traits().unwrap_err().to_string();
        assert_eq!(error, "--header-mix: found 60 values; allowed: 48 in all");
        for (flags, message) in [
            (["--header-mix=a"], "allowed: NAME=VALUE:SHARE"),
            (["--max-tokens=0"], "allowed: 1 to 4000000, or xFACTOR"),
            (["--long-from=0"], "0 is not in 1.."),
        ] {
            let error = parsed(&flags).unwrap_err();
            assert!(error.contains(message), "{flags:?}: {error}");
        }
    }
}
