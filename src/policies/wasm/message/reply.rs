//! What a guest answers.

use sgl_policy_abi::{Answer, DecodeError, PairAnswer, ShedAnswer, WaitAnswer};

use crate::policies::decision::{FailureCause, Placed};

/// Characters of a plugin's reason that are kept.
const MAX_REASON_CHARS: usize = 1000;

/// What a guest chose.
#[derive(Clone, Debug, PartialEq)]
pub enum GuestChoice<T> {
    /// This worker, or this pair.
    Chosen(T),
    /// None.
    Nobody,
    /// None: the request waits.
    Wait(WaitAnswer),
    /// None: the request is refused.
    Shed(ShedAnswer),
    /// The guest reports an error. Boxed, like the next: the decision moves this value along.
    Error(Box<str>),
    /// The answer is not what the ABI asks for.
    Malformed(Box<DecodeError>),
}

impl<T> GuestChoice<T> {
    /// The failure cause of a choice that cannot be acted on.
    pub(crate) fn cause(&self) -> FailureCause {
        match self {
            Self::Chosen(_) | Self::Nobody | Self::Shed(_) => FailureCause::InvalidChoice,
            Self::Wait(_) => FailureCause::WaitOver,
            Self::Error(_) => FailureCause::GuestError,
            Self::Malformed(_) => FailureCause::Decode,
        }
    }
}

/// A decoded answer.
#[derive(Debug)]
pub struct Reply<T> {
    /// The choice.
    pub choice: GuestChoice<T>,
    /// What else came with it. Boxed: most answers are bare numbers.
    pub more: Option<Box<More>>,
}

/// What a guest may add to its choice.
#[derive(Debug)]
pub struct More {
    /// The new encoded state of a row-form plugin.
    pub state: Option<Vec<u8>>,
    /// Numbers for the workers, `f32` little-endian.
    pub scores: Vec<f32>,
    /// A sentence.
    pub reason: Option<String>,
}

impl More {
    #[cold]
    fn of(state: Option<&[u8]>, scores: Option<&[u8]>, reason: Option<&str>) -> Option<Box<Self>> {
        if state.is_none() && scores.is_none() && reason.is_none() {
            return None;
        }
        let (words, _) = scores.unwrap_or_default().as_chunks();
        Some(Box::new(Self {
            state: state.map(<[u8]>::to_vec),
            scores: words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            reason: reason.map(|reason| reason.chars().take(MAX_REASON_CHARS).collect()),
        }))
    }
}

impl<T> Reply<T> {
    fn of(choice: GuestChoice<T>) -> Self {
        Self { choice, more: None }
    }
}

/// Decodes an answer of `select_worker`. A number that is no index becomes one beyond every table.
#[inline]
pub fn decode_choice(bytes: &[u8]) -> Reply<Placed> {
    match Answer::decode(bytes) {
        Ok(Answer::Index(index)) => Reply::of(GuestChoice::Chosen(Placed::from(index_of(index)))),
        Ok(Answer::Ticketed { index, ticket }) => {
            Reply::of(GuestChoice::Chosen(Placed { index: index_of(index), ticket }))
        }
        Ok(Answer::NoChoice) => Reply::of(GuestChoice::Nobody),
        Ok(Answer::Map(map)) => {
            let choice = match (map.error, map.selected_worker) {
                (Some(error), _) => GuestChoice::Error(error.into()),
                (None, Some(index)) => {
                    GuestChoice::Chosen(Placed { index: index_of(index), ticket: map.ticket })
                }
                (None, None) => put_off(map.shed, map.wait),
            };
            Reply { choice, more: More::of(map.state, map.scores, map.reason) }
        }
        Err(error) => Reply::of(GuestChoice::Malformed(Box::new(error))),
    }
}

#[cold]
fn put_off<T>(shed: Option<ShedAnswer>, wait: Option<WaitAnswer>) -> GuestChoice<T> {
    match (shed, wait) {
        (Some(shed), _) => GuestChoice::Shed(shed),
        (None, Some(wait)) => GuestChoice::Wait(wait),
        (None, None) => GuestChoice::Nobody,
    }
}

/// An answer of `select_worker_pair`: prefill, then decode.
pub(crate) fn decode_pair(bytes: &[u8]) -> Reply<(Placed, Placed)> {
    let answer = match PairAnswer::decode(bytes) {
        Ok(answer) => answer,
        Err(error) => return Reply::of(GuestChoice::Malformed(Box::new(error))),
    };
    let (error, reason) = match &answer {
        PairAnswer::Map(map) => (map.error, map.reason),
        _ => (None, None),
    };
    let choice = match (error, answer.selected()) {
        (Some(error), _) => GuestChoice::Error(error.into()),
        (None, Some((prefill, decode))) => {
            let (first, second) = answer.tickets();
            let placed = |index, ticket| Placed { index: index_of(index), ticket };
            GuestChoice::Chosen((placed(prefill, first), placed(decode, second)))
        }
        (None, None) => match &answer {
            PairAnswer::Map(map) => put_off(map.shed, map.wait),
            _ => GuestChoice::Nobody,
        },
    };
    Reply { choice, more: More::of(None, None, reason) }
}

#[inline]
fn index_of(index: i64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
