//! Numbers as engines write them: perhaps negative, infinite, or no numbers at all.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The highest rate that is believed, per second.
const MAX_RATE: f64 = 1e9;

/// How far a share may be above 1: engines round.
const SHARE_TOLERANCE: f64 = 0.05;

/// Where there should be a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Figure {
    /// Nothing, or null.
    #[default]
    Absent,
    /// A number, perhaps not a finite one.
    Number(f64),
    /// Something else.
    Nonsense,
}

impl Figure {
    /// Of a number in text.
    pub(crate) fn parse(text: &str) -> Self {
        text.trim().parse().map_or(Self::Nonsense, Self::Number)
    }
}

/// Takes numbers for what they can be, and remembers that there was one that cannot.
#[derive(Debug, Default)]
pub(crate) struct Sceptic {
    /// True if something was no number, or one that cannot be.
    pub(crate) nonsense: bool,
}

impl Sceptic {
    fn within(&mut self, figure: Figure, allowed: impl FnOnce(f64) -> bool) -> Option<f64> {
        match figure {
            Figure::Absent => None,
            Figure::Number(number) if allowed(number) => Some(number),
            Figure::Number(_) | Figure::Nonsense => {
                self.nonsense = true;
                None
            }
        }
    }

    /// A number of things, which fits into a column.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and within the bounds of i32"
    )]
    pub(crate) fn count(&mut self, figure: Figure) -> Option<u32> {
        let number = self
            .within(figure, |number| (0.0..=f64::from(i32::MAX)).contains(&number) && number.fract() == 0.0);
        number.map(|number| number as u32)
    }

    /// A size, which is not 0.
    pub(crate) fn size(&mut self, figure: Figure) -> Option<u32> {
        // Engines write 0 before they know it.
        self.count(figure).filter(|size| *size > 0)
    }

    /// A share, 0 to 1.
    #[expect(clippy::cast_possible_truncation, reason = "half the digits are plenty for a gauge")]
    pub(crate) fn share(&mut self, figure: Figure) -> Option<f32> {
        let number = self.within(figure, |number| (0.0..=1.0 + SHARE_TOLERANCE).contains(&number));
        number.map(|number| number.min(1.0) as f32)
    }

    /// So many a second.
    #[expect(clippy::cast_possible_truncation, reason = "half the digits are plenty for a gauge")]
    pub(crate) fn rate(&mut self, figure: Figure) -> Option<f32> {
        self.within(figure, |number| (0.0..=MAX_RATE).contains(&number)).map(|number| number as f32)
    }

    /// So many since the engine began.
    pub(crate) fn total(&mut self, figure: Figure) -> Option<f64> {
        self.within(figure, |number| (0.0..=1e18).contains(&number))
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FigureVisitor)
    }
}

struct FigureVisitor;

impl<'de> Visitor<'de> for FigureVisitor {
    type Value = Figure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_unit<E: Error>(self) -> Result<Figure, E> {
        Ok(Figure::Absent)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Figure, E> {
        Ok(Figure::Nonsense)
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 it is no count of anything")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Figure, E> {
        Ok(Figure::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 it is no count of anything")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Figure, E> {
        Ok(Figure::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Figure, E> {
        Ok(Figure::Number(number))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Figure, E> {
        Ok(Figure::Nonsense)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Figure, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Figure::Nonsense)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figure, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Figure::Nonsense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_that_cannot_be_is_unknown_and_remembered() {
        for bad in ["-1", "1e300", "1.5", "\"many\"", "true", "[1, [2]]", "{\"a\": {}}", "2147483648"] {
            let mut sceptic = Sceptic::default();
            assert_eq!(sceptic.count(serde_json::from_str(bad).unwrap()), None, "{bad}");
            assert!(sceptic.nonsense, "{bad}");
        }
        for bad in ["NaN", "inf", "-inf", "-0.5", "1.2", "1e999", "", "0x10"] {
            let mut sceptic = Sceptic::default();
            assert_eq!(sceptic.share(Figure::parse(bad)), None, "{bad}");
            assert!(sceptic.nonsense, "{bad}");
        }
        let mut sceptic = Sceptic::default();
        assert_eq!(sceptic.rate(Figure::Number(f64::NAN)), None);
        assert!(sceptic.nonsense);
    }

    #[test]
    fn number_that_can_be_is_taken() {
        let mut sceptic = Sceptic::default();
        assert_eq!(sceptic.count(Figure::parse(" 3.0 ")), Some(3));
        assert_eq!(sceptic.count(Figure::Number(f64::from(i32::MAX))), Some(2_147_483_647));
        assert_eq!(sceptic.count(serde_json::from_str("null").unwrap()), None);
        assert_eq!(sceptic.size(Figure::Number(0.0)), None);
        assert_eq!(sceptic.share(Figure::Number(1.01)), Some(1.0));
        assert_eq!(sceptic.rate(Figure::Number(12.5)), Some(12.5));
        assert!(!sceptic.nonsense);
    }
}
