//! What happens to a plugin, as the last event of its detail.
//!
//! JSON carries an event as a sentence for people. The code that reads the sentence back into an event
//! is here, beside the code that writes it, so that nobody else searches the sentence for words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::rollout::RolloutMode;

/// What happened to a plugin, and which candidate it displaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct PluginEvent {
    /// What happened.
    pub what: Happened,
    /// The canary or shadow on trial that had to go.
    pub displaced: Option<Displaced>,
}

/// What happened to a plugin.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Happened {
    /// A generation took over: it decides from now on.
    TookOver {
        /// Which one.
        generation: u64,
        /// How it took over.
        how: TakeOver,
        /// The one before, if it stays warm.
        warm: Option<u64>,
    },
    /// A generation decides for a share of the requests.
    CanaryStarted {
        /// Which one.
        generation: u64,
        /// The share.
        percent: f64,
    },
    /// A generation is shown copies.
    ShadowStarted {
        /// Which one.
        generation: u64,
        /// It sees every n-th decision.
        every: u32,
    },
    /// A generation did not stay: a candidate, or one that had taken over.
    RolledBack {
        /// Which one.
        generation: u64,
        /// The one that decides again, if another had taken over from it.
        to: Option<u64>,
        /// Why.
        reason: String,
    },
    /// The generation before is no longer warm.
    PassedProbation {
        /// Which one passed.
        generation: u64,
    },
    /// An operator took the plugin out of the path.
    Paused,
    /// An operator put it back.
    Resumed,
    /// It is out of service.
    Unloaded,
    /// A sentence of another version of the router.
    Other(String),
}

/// How a generation came to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// It was loaded.
    Loaded,
    /// It was a canary or a shadow.
    Promoted,
    /// It had decided before, and got its state back from the generation that had replaced it.
    Back {
        /// Why.
        reason: String,
    },
}

/// A canary or a shadow that had to go for another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Which one.
    pub generation: u64,
    /// What it was.
    pub mode: RolloutMode,
}

impl PluginEvent {
    /// True if a generation that was on trial did not stay.
    pub fn is_rollback(&self) -> bool {
        matches!(
            self.what,
            Happened::RolledBack { .. } | Happened::TookOver { how: TakeOver::Back { .. }, .. }
        )
    }
}

impl From<Happened> for PluginEvent {
    fn from(what: Happened) -> Self {
        Self { what, displaced: None }
    }
}

impl fmt::Display for PluginEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match self.displaced {
            Some(Displaced { generation, mode }) => {
                write!(f, "; generation {generation}, a {mode} until then, is dropped")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TookOver { generation, how, warm } => {
                write!(f, "generation {generation} {how}")?;
                warm.map_or(Ok(()), |warm| write!(f, ", {warm} stays warm"))
            }
            Self::CanaryStarted { generation, percent } => {
                write!(f, "generation {generation} is a canary with {percent} % of decisions")
            }
            Self::ShadowStarted { generation, every } => {
                write!(f, "generation {generation} is a shadow and sees one decision in {every}")
            }
            Self::RolledBack { generation, to: None, reason } => {
                write!(f, "generation {generation} rolled back: {reason}")
            }
            Self::RolledBack { generation, to: Some(to), reason } => {
                write!(f, "generation {generation} rolled back to {to}: {reason}")
            }
            Self::PassedProbation { generation } => write!(f, "generation {generation} passed its probation"),
            Self::Paused => f.write_str("paused"),
            Self::Resumed => f.write_str("resumed"),
            Self::Unloaded => f.write_str("unloaded"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for TakeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded => f.write_str("loaded"),
            Self::Promoted => f.write_str("promoted"),
            Self::Back { reason } => write!(f, "is back ({reason})"),
        }
    }
}

impl From<PluginEvent> for String {
    fn from(event: PluginEvent) -> Self {
        event.to_string()
    }
}

impl From<String> for PluginEvent {
    fn from(text: String) -> Self {
        let (first, displaced) = match displaced_in(&text) {
            Some((first, displaced)) => (first, Some(displaced)),
            None => (text.as_str(), None),
        };
        match happened_in(first) {
            Some(what) => Self { what, displaced },
            None => Happened::Other(text).into(),
        }
    }
}

/// Splits off the end of a sentence that tells of a displaced candidate.
fn displaced_in(text: &str) -> Option<(&str, Displaced)> {
    let (first, last) = text.strip_suffix(" until then, is dropped")?.rsplit_once("; generation ")?;
    let (generation, mode) = last.split_once(", a ")?;
    let modes = [RolloutMode::Canary, RolloutMode::Shadow];
    let mode = modes.into_iter().find(|known| known.as_str() == mode)?;
    Some((first, Displaced { generation: generation.parse().ok()?, mode }))
}

fn happened_in(text: &str) -> Option<Happened> {
    match text {
        "paused" => return Some(Happened::Paused),
        "resumed" => return Some(Happened::Resumed),
        "unloaded" => return Some(Happened::Unloaded),
        _ => {}
    }
    let (generation, rest) = text.strip_prefix("generation ")?.split_once(' ')?;
    let generation = generation.parse().ok()?;
    if rest == "passed its probation" {
        return Some(Happened::PassedProbation { generation });
    }
    if let Some(reason) = rest.strip_prefix("rolled back: ") {
        return Some(Happened::RolledBack { generation, to: None, reason: reason.to_owned() });
    }
    if let Some(rest) = rest.strip_prefix("rolled back to ") {
        let (to, reason) = rest.split_once(": ")?;
        return Some(Happened::RolledBack {
            generation,
            to: Some(to.parse().ok()?),
            reason: reason.to_owned(),
        });
    }
    if let Some(rest) = rest.strip_prefix("is a canary with ") {
        let percent = rest.strip_suffix(" % of decisions")?.parse().ok()?;
        return Some(Happened::CanaryStarted { generation, percent });
    }
    if let Some(every) = rest.strip_prefix("is a shadow and sees one decision in ") {
        return Some(Happened::ShadowStarted { generation, every: every.parse().ok()? });
    }
    took_over_in(generation, rest)
}

fn took_over_in(generation: u64, text: &str) -> Option<Happened> {
    let warm = text.strip_suffix(" stays warm").and_then(|text| text.rsplit_once(", "));
    let (how, warm) = match warm {
        Some((how, warm)) => (how, Some(warm.parse().ok()?)),
        None => (text, None),
    };
    let how = match how {
        "loaded" => TakeOver::Loaded,
        "promoted" => TakeOver::Promoted,
        back => {
            let reason = back.strip_prefix("is back (")?.strip_suffix(')')?;
            TakeOver::Back { reason: reason.to_owned() }
        }
    };
    Some(Happened::TookOver { generation, how, warm })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: &str = "by the operator (rolled back, generation 2 loaded; generation 3), see x: y";

    fn back() -> Happened {
        let how = TakeOver::Back { reason: REASON.to_owned() };
        Happened::TookOver { generation: 1, how, warm: Some(2) }
    }

    fn rolled_back(to: Option<u64>) -> Happened {
        Happened::RolledBack { generation: 2, to, reason: REASON.to_owned() }
    }

    fn others() -> Vec<Happened> {
        let took_over = |how, warm| Happened::TookOver { generation: 7, how, warm };
        vec![
            took_over(TakeOver::Loaded, None),
            took_over(TakeOver::Loaded, Some(6)),
            took_over(TakeOver::Promoted, Some(6)),
            Happened::CanaryStarted { generation: 7, percent: 12.5 },
            Happened::CanaryStarted { generation: 7, percent: 10.0 },
            Happened::ShadowStarted { generation: 7, every: 10 },
            Happened::PassedProbation { generation: 7 },
            Happened::Paused,
            Happened::Resumed,
            Happened::Unloaded,
            Happened::Other("generation 7 rolled its eyes".to_owned()),
        ]
    }

    #[test]
    fn event_comes_back_from_its_sentence() {
        let displaced =
            [RolloutMode::Canary, RolloutMode::Shadow].map(|mode| Some(Displaced { generation: 3, mode }));
        let all = others().into_iter().chain([back(), rolled_back(None), rolled_back(Some(1))]);
        for what in all {
            for displaced in displaced.into_iter().chain([None]) {
                if displaced.is_some() && matches!(what, Happened::Other(_)) {
                    continue;
                }
                let event = PluginEvent { what: what.clone(), displaced };
                let json = serde_json::to_value(&event).unwrap();
                assert_eq!(json, event.to_string());
                assert_eq!(serde_json::from_value::<PluginEvent>(json).unwrap(), event);
            }
        }
    }

    #[test]
    fn sentences_are_those_that_operators_know() {
        let sentence = |what: Happened| what.to_string();
        let told: Vec<String> = others().into_iter().map(sentence).collect();
        assert_eq!(
            told[..7],
            [
                "generation 7 loaded",
                "generation 7 loaded, 6 stays warm",
                "generation 7 promoted, 6 stays warm",
                "generation 7 is a canary with 12.5 % of decisions",
                "generation 7 is a canary with 10 % of decisions",
                "generation 7 is a shadow and sees one decision in 10",
                "generation 7 passed its probation",
            ]
        );
        assert_eq!(sentence(back()), format!("generation 1 is back ({REASON}), 2 stays warm"));
        assert_eq!(sentence(rolled_back(None)), format!("generation 2 rolled back: {REASON}"));
        assert_eq!(sentence(rolled_back(Some(1))), format!("generation 2 rolled back to 1: {REASON}"));
    }

    #[test]
    fn rollback_is_told_by_the_event_and_not_by_words_in_a_reason() {
        for what in [back(), rolled_back(None), rolled_back(Some(1))] {
            assert!(PluginEvent::from(what.clone()).is_rollback(), "{what}");
        }
        for what in others() {
            assert!(!PluginEvent::from(what.clone()).is_rollback(), "{what}");
        }
    }
}
