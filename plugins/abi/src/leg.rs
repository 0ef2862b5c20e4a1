//! Which selection of a request a message asks for.

/// Which selection of a request this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leg {
    /// One worker does everything. The default.
    #[default]
    Single,
    /// The prefill worker of a disaggregated pair: it reads the prompt.
    Prefill,
    /// The decode worker of a disaggregated pair: it generates.
    Decode,
}

impl Leg {
    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Single => 0,
            Self::Prefill => 1,
            Self::Decode => 2,
        }
    }

    /// The leg of that number on the wire, if there is one.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Single),
            1 => Some(Self::Prefill),
            2 => Some(Self::Decode),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_leg_name_each_other() {
        for leg in [Leg::Single, Leg::Prefill, Leg::Decode] {
            assert_eq!(Leg::from_number(leg.number()), Some(leg));
        }
        assert_eq!(Leg::from_number(3), None);
    }
}
