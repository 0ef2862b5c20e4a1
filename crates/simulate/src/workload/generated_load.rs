//! Workloads that are made up.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::workload::amount::{DrawnAmount, gamma_of_mean_one};
use crate::workload::requests::{SessionTurn, Workload};
use sglang_router_rs::types::shown_number;

/// How the beginnings of sessions are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalPattern {
    /// As those of many independent users. The default.
    #[default]
    Poisson,
    /// All gaps are the same.
    Constant,
    /// In bursts: the gaps have a gamma distribution with the deviation `cv`.
    Gamma,
    /// As those of many independent users while something is on, and none while it is off.
    OnOff,
}

/// What is asked, as a TOML file has it. What a file leaves out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeneratedLoad {
    /// Sessions that begin in a second, on average. Default: 1.
    pub rate: f64,
    /// How their beginnings are spread. Default: `poisson`.
    pub arrivals: ArrivalPattern,
    /// For `gamma`: the standard deviation of the gaps over their mean; 1 is `poisson`. Default: 2.
    pub cv: f64,
    /// For `on_off`: seconds that a time with arrivals lasts on average, and one without. Their lengths are
    /// exponentially distributed; `rate` is that over both. Default: 10, 20.
    pub on_secs: f64,
    /// See `on_secs`.
    pub off_secs: f64,
    /// Requests in all. Default: 10,000, unless `duration_secs` is given.
    pub requests: Option<u32>,
    /// Seconds in which sessions begin. Default: as long as it takes.
    pub duration_secs: Option<f64>,
    /// Requests of a session. Default: 1.
    pub turns: DrawnAmount,
    /// Seconds from the end of an answer to the next request of its session. Default: 10.
    pub think_secs: DrawnAmount,
    /// Tokens of the first prompt of a session, but for the system prompt. Default: 512.
    pub prompt_tokens: DrawnAmount,
    /// Tokens that each further prompt has more than the one before and its answer. Default: as
    /// `prompt_tokens`.
    pub turn_tokens: Option<DrawnAmount>,
    /// Tokens of an answer. Default: 128.
    pub output_tokens: DrawnAmount,
    /// Tokens of the system prompt that a session's prompts begin with. Default: 0.
    pub system_tokens: u32,
    /// How many different system prompts there are; each session has one of them by chance. Default: 1.
    pub system_prompts: u32,
    /// Tokens of a prompt at most: a session ends before one that would be longer. Default: 128,000.
    pub max_prompt_tokens: u32,
}

/// Why a workload cannot be made up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeneratorError {
    /// It is not the TOML that it should be.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A value is out of its range.
    #[error("{key}: found {found}; allowed: {allowed}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        allowed: &'static str,
    },
}

/// Requests, where nothing else ends them.
const REQUESTS: u32 = 10_000;
/// Requests that are made up at most.
const MOST_REQUESTS: u32 = 10_000_000;
/// Requests of a session at most: their number has so many bits.
const MOST_TURNS: u32 = 1023;
/// Ids of system prompts, in place of a session's number.
const SYSTEM: u32 = u32::MAX;

impl Default for GeneratedLoad {
    fn default() -> Self {
        Self {
            rate: 1.0,
            arrivals: ArrivalPattern::default(),
            cv: 2.0,
            on_secs: 10.0,
            off_secs: 20.0,
            requests: None,
            duration_secs: None,
            turns: DrawnAmount::Fixed(1.0),
            think_secs: DrawnAmount::Fixed(10.0),
            prompt_tokens: DrawnAmount::Fixed(512.0),
            turn_tokens: None,
            output_tokens: DrawnAmount::Fixed(128.0),
            system_tokens: 0,
            system_prompts: 1,
            max_prompt_tokens: 128_000,
        }
    }
}

impl GeneratedLoad {
    /// Reads what is to be made up.
    ///
    /// # Errors
    ///
    /// [`GeneratorError::Toml`].
    pub fn from_toml(text: &str) -> Result<Self, GeneratorError> {
        Ok(toml::from_str(text)?)
    }

    /// The same, if each value is in its range.
    ///
    /// # Errors
    ///
    /// [`GeneratorError::Range`] names the key.
    pub fn checked(self) -> Result<Self, GeneratorError> {
        const TOKENS: &str = "1 to 4000000 on average, MEAN:CV with a CV of 0 to 100";
        let count = |count: Option<u32>| count.map_or_else(String::new, |count| count.to_string());
        let time = |time: f64| ((0.001..=1e6).contains(&time), shown_number(time));
        let amount =
            |amount: DrawnAmount, most: f64, least: f64| (amount.is_fine(least..=most), amount.to_string());
        let tokens = |tokens: DrawnAmount| amount(tokens, 4e6, 1.0);
        let fine = || (true, String::new());
        let within = |found: u32, range: RangeInclusive<u32>| (range.contains(&found), found.to_string());
        let requests = self.requests.is_none_or(|count| (1..=MOST_REQUESTS).contains(&count));
        for (key, (is_fine, found), allowed) in [
            ("rate", time(self.rate), "0.001 to 1000000"),
            ("cv", ((0.01..=100.0).contains(&self.cv), shown_number(self.cv)), "0.01 to 100"),
            ("on_secs", time(self.on_secs), "0.001 to 1000000"),
            ("off_secs", ((0.0..=1e6).contains(&self.off_secs), shown_number(self.off_secs)), "0 to 1000000"),
            ("requests", (requests, count(self.requests)), "1 to 10000000"),
            ("duration_secs", self.duration_secs.map_or_else(fine, time), "0.001 to 1000000"),
            ("turns", amount(self.turns, 1023.0, 1.0), "1 to 1023 on average, MEAN:CV with a CV of 0 to 100"),
            (
                "think_secs",
                amount(self.think_secs, 1e6, 0.0),
                "0 to 1000000 on average, MEAN:CV with a CV of 0 to 100",
            ),
            ("prompt_tokens", tokens(self.prompt_tokens), TOKENS),
            ("turn_tokens", self.turn_tokens.map_or_else(fine, tokens), TOKENS),
            ("output_tokens", tokens(self.output_tokens), TOKENS),
            ("system_tokens", within(self.system_tokens, 0..=4_000_000), "0 to 4000000"),
            ("system_prompts", within(self.system_prompts, 1..=1000), "1 to 1000"),
            ("max_prompt_tokens", within(self.max_prompt_tokens, 1..=4_000_000), "1 to 4000000"),
        ] {
            if !is_fine {
                return Err(GeneratorError::Range { key, found, allowed });
            }
        }
        Ok(self)
    }

    /// The requests of a seed, in units of so many tokens.
    pub fn workload(&self, seed: u64, unit_tokens: u32) -> Workload {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x6765_6e65_7261);
        let mut arrivals = SessionArrivals { load: self, at: 0.0, on_until: 0.0 };
        let most =
            self.requests.unwrap_or(if self.duration_secs.is_some() { MOST_REQUESTS } else { REQUESTS });
        let (mut workload, mut turns) = (Workload::new(unit_tokens), Vec::new());
        for session in 0..SYSTEM {
            let at = arrivals.next(&mut random);
            if workload.len() >= most || self.duration_secs.is_some_and(|end| at >= end) {
                break;
            }
            self.push_session(&mut workload, &mut turns, (session, at, most), &mut random);
        }
        if turns.iter().any(|turn| turn.after.is_some()) { workload.with_turns(turns) } else { workload }
    }

    fn push_session(
        &self,
        workload: &mut Workload,
        turns: &mut Vec<SessionTurn>,
        (session, at, most): (u32, f64, u32),
        random: &mut fastrand::Rng,
    ) {
        let count = self.turns.count(random, 1).min(MOST_TURNS);
        let system = random.u32(..self.system_prompts);
        let unit = workload.unit_tokens();
        let mut ids: Vec<u64> =
            (0..self.system_tokens / unit).map(|place| id(SYSTEM, system, place)).collect();
        let mut prompt = self.system_tokens.saturating_add(self.prompt_tokens.count(random, 1));
        for turn in 0..count {
            let (number, output) = (workload.len(), self.output_tokens.count(random, 1));
            // The first one of a session is asked in any case, in a shorter form.
            prompt = if turn == 0 { prompt.min(self.max_prompt_tokens) } else { prompt };
            if number >= most || prompt > self.max_prompt_tokens {
                return;
            }
            let begun = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            ids.extend((begun..prompt.div_ceil(unit)).map(|place| id(session, turn, place)));
            workload.push(at, prompt, output, &ids);
            let think = if turn == 0 { 0.0 } else { self.think_secs.draw(random) };
            turns.push(SessionTurn { session, after: (turn > 0).then(|| number - 1), think });
            // What was not whole is filled up by the answer.
            ids.truncate((prompt / unit) as usize);
            let more = self.turn_tokens.unwrap_or(self.prompt_tokens).count(random, 1);
            prompt = prompt.saturating_add(output).saturating_add(more);
        }
    }
}

/// The id of a unit that came into being in this turn of a session, at this place.
fn id(session: u32, turn: u32, place: u32) -> u64 {
    u64::from(session) << 32 | u64::from(turn) << 22 | u64::from(place)
}

/// When sessions begin.
struct SessionArrivals<'a> {
    load: &'a GeneratedLoad,
    at: f64,
    /// When the time with arrivals ends.
    on_until: f64,
}

impl SessionArrivals<'_> {
    fn next(&mut self, random: &mut fastrand::Rng) -> f64 {
        let GeneratedLoad { rate, arrivals, cv, on_secs, off_secs, .. } = *self.load;
        let mut exponential = |mean: f64| -(1.0 - random.f64()).ln() * mean;
        self.at += match arrivals {
            ArrivalPattern::Poisson => exponential(1.0 / rate),
            ArrivalPattern::Constant => 1.0 / rate,
            ArrivalPattern::Gamma => gamma_of_mean_one(random, 1.0 / (cv * cv)) / rate,
            ArrivalPattern::OnOff => {
                let mut gap = exponential(on_secs / (on_secs + off_secs) / rate);
                while self.at + gap >= self.on_until {
                    // What is left of the gap runs on in the next time with arrivals.
                    gap -= (self.on_until - self.at).max(0.0);
                    self.at = self.at.max(self.on_until) + exponential(off_secs);
                    self.on_until = self.at + exponential(on_secs);
                }
                gap
            }
        };
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(load: &GeneratedLoad) -> (f64, f64) {
        let workload = load.workload(3, 512);
        let at: Vec<f64> = workload.requests().iter().map(|request| request.at).collect();
        let gaps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn sessions_begin_at_the_rate_with_the_spread_of_their_pattern() {
        let load =
            |arrivals| GeneratedLoad { rate: 4.0, arrivals, requests: Some(40_000), ..Default::default() };
        for (arrivals, expected) in
            [(ArrivalPattern::Constant, 0.0), (ArrivalPattern::Poisson, 1.0), (ArrivalPattern::Gamma, 2.0)]
        {
            let (mean, cv) = gaps(&load(arrivals));
            assert!((mean * 4.0 - 1.0).abs() < 0.03, "{arrivals:?} {mean}");
            assert!((cv - expected).abs() < 0.1, "{arrivals:?} {cv}");
        }
        let (mean, cv) = gaps(&load(ArrivalPattern::OnOff));
        assert!((mean * 4.0 - 1.0).abs() < 0.1 && cv > 3.0, "{mean} {cv}");
    }

    #[test]
    fn follow_up_begins_with_prompt_and_answer_before_it_and_sessions_share_their_system_prompt() {
        let text = "turns = 3\nprompt_tokens = 700\nturn_tokens = { mean = 100, cv = 0.5 }\n\
                    output_tokens = 300\nsystem_tokens = 1100\nrequests = 30\nthink_secs = 2.5";
        let load = GeneratedLoad::from_toml(text).unwrap().checked().unwrap();
        let workload = load.workload(1, 512);
        assert_eq!((workload.len(), workload.has_turns()), (30, true));
        for number in 0..30 {
            let turn = workload.turn(number).unwrap();
            assert_eq!(turn.session, number / 3);
            assert_eq!(turn.after, (number % 3 > 0).then(|| number - 1));
            assert_eq!(workload.units(number)[..2], workload.units(0)[..2]);
            assert!(number < 3 || !workload.units(0).contains(&workload.units(number)[2]));
            let Some(before) = turn.after else { continue };
            let asked = workload.request(before).unwrap();
            let known = asked.prompt_tokens + asked.output_tokens;
            let next = workload.request(number).unwrap();
            assert!(next.prompt_tokens > known && (turn.think - 2.5).abs() < f64::EPSILON);
            let whole = (known / 512) as usize;
            assert_eq!(workload.whole_units_with_answer(before), &workload.units(number)[..whole]);
        }
        assert_eq!(workload, load.workload(1, 512));
        assert_ne!(workload, load.workload(2, 512));
    }

    #[test]
    fn time_and_length_end_what_is_made_up() {
        let load = GeneratedLoad { duration_secs: Some(50.0), rate: 10.0, ..GeneratedLoad::default() };
        let workload = load.workload(1, 512);
        assert!((400..600).contains(&workload.len()) && !workload.has_turns(), "{}", workload.len());
        let short = GeneratedLoad {
            max_prompt_tokens: 1500,
            turns: DrawnAmount::Fixed(9.0),
            requests: Some(50),
            ..GeneratedLoad::default()
        };
        let lengths = short.workload(1, 512);
        let longest = lengths.requests().iter().map(|asked| asked.prompt_tokens).max();
        assert_eq!((longest, lengths.len()), (Some(1152), 50));
    }

    #[test]
    fn value_out_of_its_range_is_named() {
        let rows = [
            ("rate = 0.0", "rate: found 0; allowed: 0.001 to 1000000"),
            ("rate = 1e-300", "rate: found 1e-300; allowed: 0.001"),
            ("cv = 1e-300", "cv: found 1e-300; allowed: 0.01 to 100"),
            ("turns = 0", "turns: found 0; allowed: 1 to 1023"),
            ("prompt_tokens = { mean = 0.0, cv = 1.0 }", "prompt_tokens: found 0:1; allowed: 1 to 4000000"),
            (
                "output_tokens = { mean = 9, cv = 101, max = 20 }",
                "output_tokens: found 9:101:20; allowed: 1 to",
            ),
            ("think_secs = -1.0", "think_secs: found -1; allowed: 0 to 1000000"),
            ("think_secs = 1e300", "think_secs: found 1e300; allowed: 0 to 1000000"),
            ("system_prompts = 0", "system_prompts: found 0; allowed: 1 to 1000"),
        ];
        let told = |text: &str| GeneratedLoad::from_toml(text).unwrap().checked();
        let wrong: Vec<_> = rows
            .into_iter()
            .map(|(text, message)| (text, message, told(text).map(drop).map_err(|error| error.to_string())))
            .filter(|(_, message, told)| !told.as_ref().is_err_and(|error| error.starts_with(message)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(GeneratedLoad::from_toml("rates = 1").unwrap_err().to_string().contains("rates"));
    }
}
