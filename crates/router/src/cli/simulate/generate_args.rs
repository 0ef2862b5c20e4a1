//! The flags of `sgl-router simulate` that say what is asked where no trace does.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::simulate::error::SimulateError;
use sgl_simulate::workload::{ArrivalPattern, DrawnAmount, GeneratedLoad, GeneratorError};

/// Requests that are made up.
#[derive(Args, Clone, Debug, Default)]
pub struct GenerateArgs {
    /// Requests that are made up in place of a trace, as TOML; flags go before it [default: see
    /// docs/simulate.md]
    #[arg(long, value_name = "FILE", help_heading = "Generated requests", conflicts_with = "trace")]
    pub generate: Option<PathBuf>,
    /// Sessions that begin in a second; of one request each, unless --turns says otherwise
    #[arg(
        long,
        value_name = "PER_SECOND",
        help_heading = "Generated requests",
        conflicts_with = "trace",
        allow_negative_numbers = true
    )]
    pub rate: Option<f64>,
    /// How their beginnings are spread
    #[arg(long, value_enum, help_heading = "Generated requests", conflicts_with = "trace")]
    pub arrivals: Option<SessionArrivalProcess>,
    /// With --arrivals gamma: the standard deviation of the gaps over their mean; 1 is poisson
    #[arg(
        long,
        value_name = "RATIO",
        help_heading = "Generated requests",
        conflicts_with = "trace",
        allow_negative_numbers = true
    )]
    pub arrival_cv: Option<f64>,
    /// Seconds in which sessions begin
    #[arg(
        long,
        value_name = "SECONDS",
        help_heading = "Generated requests",
        conflicts_with = "trace",
        allow_negative_numbers = true
    )]
    pub duration: Option<f64>,
    /// Tokens of a session's first prompt: a number; or MEAN:CV, which draws them with a lognormal
    /// distribution; or MEAN:CV:MOST
    #[arg(long, value_name = "AMOUNT", help_heading = "Generated requests", conflicts_with = "trace", value_parser = amount, allow_negative_numbers = true)]
    pub prompt_tokens: Option<DrawnAmount>,
    /// Tokens that each further prompt has more than the one before and its answer [default: as
    /// --prompt-tokens]
    #[arg(long, value_name = "AMOUNT", help_heading = "Generated requests", conflicts_with = "trace", value_parser = amount, allow_negative_numbers = true)]
    pub turn_tokens: Option<DrawnAmount>,
    /// Tokens of an answer
    #[arg(long, value_name = "AMOUNT", help_heading = "Generated requests", conflicts_with = "trace", value_parser = amount, allow_negative_numbers = true)]
    pub output_tokens: Option<DrawnAmount>,
    /// Requests of a session
    #[arg(long, value_name = "AMOUNT", help_heading = "Generated requests", conflicts_with = "trace", value_parser = amount, allow_negative_numbers = true)]
    pub turns: Option<DrawnAmount>,
    /// Seconds from an answer to the next request of its session
    #[arg(long, value_name = "AMOUNT", help_heading = "Generated requests", conflicts_with = "trace", value_parser = amount, allow_negative_numbers = true)]
    pub think_secs: Option<DrawnAmount>,
    /// Tokens of the system prompt
    #[arg(long, value_name = "TOKENS", help_heading = "Generated requests", conflicts_with = "trace")]
    pub system_tokens: Option<u32>,
    /// How many different system prompts there are
    #[arg(long, value_name = "COUNT", help_heading = "Generated requests", conflicts_with = "trace")]
    pub system_prompts: Option<u32>,
}

/// How the beginnings of sessions are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SessionArrivalProcess {
    /// As those of many independent users.
    Poisson,
    /// All gaps are the same.
    Constant,
    /// In bursts: see --arrival-cv.
    Gamma,
    /// Now and then none at all: `on_secs` and `off_secs` of the file.
    OnOff,
}

impl From<SessionArrivalProcess> for ArrivalPattern {
    fn from(process: SessionArrivalProcess) -> Self {
        match process {
            SessionArrivalProcess::Poisson => Self::Poisson,
            SessionArrivalProcess::Constant => Self::Constant,
            SessionArrivalProcess::Gamma => Self::Gamma,
            SessionArrivalProcess::OnOff => Self::OnOff,
        }
    }
}

impl GenerateArgs {
    /// What is to be made up: what the file says, and before it the flags. `requests` and
    /// `max_prompt_tokens` are flags of traces, too.
    ///
    /// # Errors
    ///
    /// [`SimulateError`] names the file or the key.
    pub(crate) fn load(
        &self,
        requests: Option<u32>,
        max_prompt_tokens: Option<u32>,
    ) -> Result<GeneratedLoad, SimulateError> {
        let file = match &self.generate {
            None => GeneratedLoad::default(),
            Some(path) => {
                let flag = "--generate";
                let unreadable = |source| SimulateError::Unreadable { flag, path: path.clone(), source };
                let text = fs::read_to_string(path).map_err(unreadable)?;
                let fault = |source| SimulateError::Generator { path: path.clone(), source };
                GeneratedLoad::from_toml(&text).map_err(fault)?
            }
        };
        let load = GeneratedLoad {
            rate: self.rate.unwrap_or(file.rate),
            arrivals: self.arrivals.map_or(file.arrivals, Into::into),
            cv: self.arrival_cv.unwrap_or(file.cv),
            requests: requests.or(file.requests),
            duration_secs: self.duration.or(file.duration_secs),
            turns: self.turns.unwrap_or(file.turns),
            think_secs: self.think_secs.unwrap_or(file.think_secs),
            prompt_tokens: self.prompt_tokens.unwrap_or(file.prompt_tokens),
            turn_tokens: self.turn_tokens.or(file.turn_tokens),
            output_tokens: self.output_tokens.unwrap_or(file.output_tokens),
            system_tokens: self.system_tokens.unwrap_or(file.system_tokens),
            system_prompts: self.system_prompts.unwrap_or(file.system_prompts),
            max_prompt_tokens: max_prompt_tokens.unwrap_or(file.max_prompt_tokens),
            ..file
        };
        load.checked().map_err(|error| self.fault(error, requests, max_prompt_tokens))
    }

    /// A value out of its range, under the name that its user gave it.
    fn fault(
        &self,
        error: GeneratorError,
        requests: Option<u32>,
        max_prompt_tokens: Option<u32>,
    ) -> SimulateError {
        let given = [
            ("rate", "--rate", self.rate.is_some()),
            ("cv", "--arrival-cv", self.arrival_cv.is_some()),
            ("requests", "--requests", requests.is_some()),
            ("duration_secs", "--duration", self.duration.is_some()),
            ("turns", "--turns", self.turns.is_some()),
            ("think_secs", "--think-secs", self.think_secs.is_some()),
            ("prompt_tokens", "--prompt-tokens", self.prompt_tokens.is_some()),
            ("turn_tokens", "--turn-tokens", self.turn_tokens.is_some()),
            ("output_tokens", "--output-tokens", self.output_tokens.is_some()),
            ("system_tokens", "--system-tokens", self.system_tokens.is_some()),
            ("system_prompts", "--system-prompts", self.system_prompts.is_some()),
            ("max_prompt_tokens", "--max-prompt-tokens", max_prompt_tokens.is_some()),
        ];
        if let GeneratorError::Range { key: wrong, found, allowed } = &error
            && let Some((_, flag, _)) = given.iter().find(|(key, _, is_given)| *is_given && key == wrong)
        {
            return SimulateError::Usage(format!("{flag}: found {found}; allowed: {allowed}"));
        }
        match &self.generate {
            Some(path) => SimulateError::Generator { path: path.clone(), source: error },
            None => SimulateError::Usage(error.to_string()),
        }
    }
}

fn amount(text: &str) -> Result<DrawnAmount, String> {
    let fault = || "allowed: a number, MEAN:CV, or MEAN:CV:MOST".to_owned();
    DrawnAmount::parse(text).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::simulate::args::SimulateArgs;

    #[derive(Parser)]
    struct GenerateCommand {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parsed(flags: &[&str]) -> Result<GeneratedLoad, String> {
        let flags = ["simulate", "--policy=random"].iter().chain(flags);
        let args = GenerateCommand::try_parse_from(flags).map_err(|error| error.to_string())?.args;
        args.generated.load(args.requests, args.max_prompt_tokens).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "rate = 3.0\nturns = 4\non_secs = 5.0\noutput_tokens = 77").unwrap();
        let path = file.path().to_str().unwrap();
        let load =
            parsed(&["--generate", path, "--rate=8", "--output-tokens=90:0.5", "--arrivals=on-off"]).unwrap();
        let expected = GeneratedLoad {
            rate: 8.0,
            turns: DrawnAmount::Fixed(4.0),
            on_secs: 5.0,
            output_tokens: DrawnAmount::Lognormal { mean: 90.0, cv: 0.5, max: None },
            arrivals: ArrivalPattern::OnOff,
            ..GeneratedLoad::default()
        };
        assert_eq!(load, expected);
    }

    #[test]
    fn faults_name_the_flag_that_was_given_or_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "rate = 1e-300").unwrap();
        let path = file.path().to_str().unwrap();
        let rows = [
            (&["--rate=0"][..], "--rate: found 0; allowed: 0.001 to 1000000"),
            (&["--rate=-1"], "--rate: found -1; allowed: 0.001"),
            (&["--rate", "-1"], "--rate: found -1; allowed: 0.001"),
            (&["--rate=1e300"], "--rate: found 1e300; allowed: 0.001"),
            (&["--rate=1", "--arrival-cv=0"], "--arrival-cv: found 0; allowed: 0.01 to 100"),
            (&["--rate=1", "--think-secs=1e300"], "--think-secs: found 1e300; allowed: 0 to 1000000"),
            (&["--rate=1", "--turns=4:500"], "--turns: found 4:500; allowed: 1 to 1023 on average, MEAN:CV"),
            (&["--rate=1", "--turns=x"], "'--turns <AMOUNT>': allowed: a number, MEAN:CV"),
            (&["--rate=1", "--trace=t"], "cannot be used with"),
            (&["--load=1e-300"], "'--load <FACTOR>': allowed: 0.001 to 1000000"),
            (&["--load", "-1"], "'--load <FACTOR>': allowed: 0.001 to 1000000"),
            (&["--load=1,1e300"], "'--load <FACTOR>': allowed: 0.001 to 1000000"),
            (&["--speeds=1e-300"], "'--speeds <FACTOR>': allowed: 0.001 to 1000"),
            (&["--speeds=1,nan"], "'--speeds <FACTOR>': allowed: 0.001 to 1000"),
            (&["--slo-ttft=-1"], "'--slo-ttft <SECONDS>': allowed: 0 to 1000000"),
            (&["--queue-timeout-secs=1e300"], "'--queue-timeout-secs <SECONDS>': allowed: 0 to 1000000"),
            (&["--capacity", "--capacity-share=0"], "'--capacity-share <SHARE>': allowed: above 0, up to 1"),
            (
                &["--capacity", "--capacity-share=1.1"],
                "'--capacity-share <SHARE>': allowed: above 0, up to 1",
            ),
            (&["--generate", path], &format!("--generate: {path}")),
            (&["--generate", path, "--rate=0"], "--rate: found 0"),
        ];
        let is_wrong =
            |told: &Result<_, String>, message| !told.as_ref().is_err_and(|error| error.contains(message));
        let wrong: Vec<_> = rows
            .into_iter()
            .map(|(flags, message)| (flags, message, parsed(flags).map(drop)))
            .filter(|(_, message, told)| is_wrong(told, *message))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
