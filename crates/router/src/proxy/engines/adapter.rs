//! What is known of one kind of engine.

use serde::Deserialize;

use crate::config::checked::MAX_DP_SIZE;
use crate::proxy::engines::figure::{Figure, Sceptic};
use crate::proxy::engines::reading::Reading;
use crate::proxy::rank::RankFields;
use sglang_router_rs::core::EngineFacts;

/// The longest version that is shown, in bytes.
const MAX_VERSION_BYTES: usize = 64;

/// One kind of engine: where it is asked, and how its answers are read.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// Its name in the configuration and for policies.
    pub(crate) name: &'static str,
    /// Where it says who it is; the first that can be read counts.
    pub(crate) identities: &'static [EngineQuestion<Identity>],
    /// Where it tells of its load, the best first.
    pub(crate) loads: &'static [EngineQuestion<Reading>],
    /// Where it tells how many ranks it has, if it does not when it says who it is.
    pub(crate) rank_counts: &'static [EngineQuestion<RankCount>],
    /// How a request names a rank, to this version of it; `None` if it has no ranks.
    pub(crate) rank_fields: Option<fn(Option<&str>) -> RankFields>,
}

/// A path, and how an answer from there is read; `None` if it is of another kind.
#[derive(Debug)]
pub(crate) struct EngineQuestion<T: 'static> {
    /// Path and query.
    pub(crate) path: &'static str,
    /// Reads the body of an answer with status 200 to 299.
    pub(crate) read: fn(&[u8]) -> Option<T>,
}

/// Who an engine says it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Identity {
    /// False if others might answer the same, so that its load must be of this kind, too.
    pub(crate) is_sure: bool,
    /// Its version.
    pub(crate) version: Option<String>,
    /// What else it says.
    pub(crate) facts: EngineFacts,
    /// How many data-parallel ranks it has.
    pub(crate) ranks: RankCount,
}

/// What an engine says of how many data-parallel ranks it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RankCount {
    /// Nothing.
    #[default]
    Unknown,
    /// So many, 1 to 256.
    Known(u32),
    /// A number that cannot be, or is beyond all bounds.
    Nonsense,
}

impl RankCount {
    /// Of a number as it was read.
    pub(crate) fn of(figure: Figure) -> Self {
        let mut sceptic = Sceptic::default();
        match (figure, sceptic.size(figure)) {
            (Figure::Absent, _) => Self::Unknown,
            (_, Some(count)) if count <= MAX_DP_SIZE => Self::Known(count),
            _ => Self::Nonsense,
        }
    }

    /// Of the ranks that a page has numbers of: all of them, from 0 on. A server of one node of several tells of
    /// its own ranks only, which says nothing of how many there are.
    pub(crate) fn among(reading: &Reading) -> Self {
        let mut numbers: Vec<u32> = reading.ranks.iter().map(|rank| rank.rank).collect();
        numbers.sort_unstable();
        let is_twice = numbers.windows(2).any(|pair| pair.first() == pair.last());
        match (numbers.last(), u32::try_from(numbers.len())) {
            (None, _) => Self::Unknown,
            (Some(last), Ok(count)) if *last < MAX_DP_SIZE && !is_twice => {
                if count == last + 1 {
                    Self::Known(count)
                } else {
                    Self::Unknown
                }
            }
            _ => Self::Nonsense,
        }
    }
}

/// A version of an answer: any text, but short and on one line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Version {
    /// A text.
    Text(String),
    /// Anything else.
    Other(serde::de::IgnoredAny),
}

impl Version {
    /// What may be shown of it.
    pub(crate) fn shown(self) -> Option<String> {
        match self {
            Self::Text(text)
                if text.len() <= MAX_VERSION_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Some(text)
            }
            Self::Text(_) | Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::engines::reading::RankLoad;

    #[test]
    fn ranks_that_cannot_be_are_nonsense() {
        let number = |number: f64| RankCount::of(Figure::Number(number));
        assert_eq!([number(1.0), number(256.0)], [RankCount::Known(1), RankCount::Known(256)]);
        for odd in [-1.0, 0.0, 1.5, 257.0, 5e9, f64::NAN, f64::INFINITY] {
            assert_eq!(number(odd), RankCount::Nonsense, "{odd}");
        }
        assert_eq!(
            [RankCount::of(Figure::Absent), RankCount::of(Figure::Nonsense)],
            [RankCount::Unknown, RankCount::Nonsense]
        );
        let among = |numbers: &[u32]| {
            let ranks = numbers.iter().map(|rank| RankLoad { rank: *rank, ..RankLoad::default() });
            RankCount::among(&Reading { ranks: ranks.collect(), nonsense: false })
        };
        assert_eq!(
            [among(&[]), among(&[0]), among(&[1, 0])],
            [RankCount::Unknown, RankCount::Known(1), RankCount::Known(2)]
        );
        for part in [&[2, 3][..], &[0, 2], &[255]] {
            assert_eq!(among(part), RankCount::Unknown, "{part:?}");
        }
        let many: Vec<u32> = (0..300).collect();
        for odd in [&[0, 0][..], &[1, 2, 1], &[256], &[u32::MAX], &many] {
            assert_eq!(among(odd), RankCount::Nonsense, "{odd:?}");
        }
    }
}
