//! What of a message is written at once.

use sgl_policy_abi::{Column, Input};

/// What is written at once: the columns of a plugin that declares many follow one another, and to write them
/// together takes less than half as long.
#[derive(Debug, PartialEq)]
pub(crate) enum MessagePart {
    /// An input.
    One(Input),
    /// Two columns or more, one after another.
    Columns(Box<[Column]>),
}

impl MessagePart {
    /// The parts of a message with these inputs.
    pub(crate) fn of(inputs: &[Input]) -> Box<[Self]> {
        let column = |input: &Input| if let Input::Column(column) = input { Some(*column) } else { None };
        let runs = inputs.chunk_by(|one, next| column(one).and(column(next)).is_some());
        let part = |run: &[Input]| match run {
            [input] => Self::One(input.clone()),
            columns => Self::Columns(columns.iter().filter_map(column).collect()),
        };
        runs.map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: [Input; 8] = [
        Input::Load,
        Input::Healthy,
        Input::Running,
        Input::TokensInFlight,
        Input::OldestPendingMs,
        Input::KvUsage,
        Input::Leg,
        Input::PrefillLoad,
    ];

    #[test]
    fn columns_in_a_row_are_one_part() {
        let one = |input: &Input| MessagePart::One(input.clone());
        let together =
            [Column::Running, Column::TokensInFlight, Column::OldestPendingMs, Column::KvUsage].into();
        let expected = [
            one(&Input::Load),
            one(&Input::Healthy),
            MessagePart::Columns(together),
            one(&Input::Leg),
            one(&Input::PrefillLoad),
        ];
        assert_eq!(*MessagePart::of(&INPUTS), expected);
    }
}
