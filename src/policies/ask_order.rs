//! In which order those who are held are asked again.
//!
//! ```text
//!  something changed ─► a round: ask ─► ask ─► ask …  until so many in a row still wait, or all were asked
//!                                 │ placed: the row begins anew
//!  its time is over ─► asked next, whatever the round
//! ```
//!
//! One is asked at a time: it has the turn, until it says what came of it or is gone. Whoever keeps the order
//! looks after each change whether somebody [got the turn](AskOrder::take_call), and asks it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use crate::policies::wait::WaitKey;

/// Where one stands: by its key, and by its arrival where keys are equal.
type AskPlace = (WaitKey, u64);

/// Who is held, and whose turn it is to be asked.
#[derive(Debug, Default)]
pub struct AskOrder {
    order: BTreeSet<AskPlace>,
    seats: HashMap<u64, Seat>,
    /// Those whose time is over.
    due: VecDeque<u64>,
    /// Who is asked now.
    turn: Option<u64>,
    /// Whether it does not know that yet.
    is_news: bool,
    round: AskRound,
    /// Whether something has changed since the round began.
    again: bool,
    /// After how many in a row that still wait a round ends.
    most_in_vain: u32,
}

#[derive(Debug)]
struct Seat {
    key: WaitKey,
    /// The last round that it was asked in.
    asked_in: u64,
}

/// One pass over those who are held.
#[derive(Debug, Default)]
struct AskRound {
    number: u64,
    is_on: bool,
    /// Who was asked last in it.
    last: Option<AskPlace>,
    /// How many in a row still wait.
    in_vain: u32,
}

impl AskOrder {
    /// Who has got the turn since this was asked last: it is to be asked now.
    pub fn take_call(&mut self) -> Option<u64> {
        if std::mem::take(&mut self.is_news) { self.turn } else { None }
    }

    /// One more is held.
    pub fn enter(&mut self, number: u64, key: WaitKey, most_in_vain: u32) {
        self.most_in_vain = most_in_vain;
        self.order.insert((key, number));
        self.seats.insert(number, Seat { key, asked_in: 0 });
    }

    /// One who had the turn still waits, with this key.
    pub fn still_waits(&mut self, number: u64, key: WaitKey, most_in_vain: u32) {
        self.most_in_vain = most_in_vain;
        let Some(seat) = self.seats.get_mut(&number) else { return };
        self.order.remove(&(seat.key, number));
        seat.key = key;
        self.order.insert((key, number));
        if self.turn == Some(number) {
            self.round.in_vain += 1;
            self.pass_on();
        }
    }

    /// One is gone: it was placed, or not. False if it was before.
    pub fn leave(&mut self, number: u64, placed: bool) -> bool {
        let Some(seat) = self.seats.remove(&number) else { return false };
        self.order.remove(&(seat.key, number));
        if self.turn == Some(number) {
            if placed {
                self.round.in_vain = 0;
            }
            self.pass_on();
        }
        true
    }

    /// Something has changed: all who are held may be asked again.
    pub fn stir(&mut self) {
        if self.round.is_on {
            self.again = true;
        } else if !self.seats.is_empty() {
            self.begin_round();
            if self.turn.is_none() {
                self.pass_on();
            }
        }
    }

    /// The time of one is over: it is asked next.
    pub fn is_due(&mut self, number: u64) {
        if self.turn == Some(number) || !self.seats.contains_key(&number) {
            return;
        }
        self.due.push_back(number);
        if self.turn.is_none() {
            self.pass_on();
        }
    }

    fn begin_round(&mut self) {
        self.round = AskRound { number: self.round.number + 1, is_on: true, last: None, in_vain: 0 };
        self.again = false;
    }

    /// Gives the turn to the next, if there is one.
    fn pass_on(&mut self) {
        self.turn = None;
        self.is_news = false;
        while let Some(number) = self.due.pop_front() {
            if self.call(number) {
                return;
            }
        }
        while self.round.is_on {
            let next = if self.round.in_vain < self.most_in_vain { self.next() } else { None };
            if let Some(place) = next {
                self.round.last = Some(place);
                if self.call(place.1) {
                    return;
                }
            } else if self.again && !self.seats.is_empty() {
                self.begin_round();
            } else {
                self.round.is_on = false;
            }
        }
    }

    /// The next who was not asked in this round. Keys may have changed since it began, so that one who was
    /// asked may stand further back now.
    fn next(&self) -> Option<AskPlace> {
        let from = self.round.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.order.range((from, Bound::Unbounded));
        let is_new = |seat: &Seat| seat.asked_in != self.round.number;
        rest.find(|(_, number)| self.seats.get(number).is_some_and(is_new)).copied()
    }

    /// Gives the turn to this one; false if it is gone.
    fn call(&mut self, number: u64) -> bool {
        let Some(seat) = self.seats.get_mut(&number) else { return false };
        seat.asked_in = self.round.number;
        self.turn = Some(number);
        self.is_news = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enters them under their numbers, with these keys.
    fn held(keys: &[f64]) -> AskOrder {
        let mut order = AskOrder::default();
        for (number, key) in (1..).zip(keys) {
            order.enter(number, WaitKey::new(*key), 2);
        }
        order
    }

    /// Who is asked, one after the other, if all of them answer alike; `None`: nobody is.
    fn asked(order: &mut AskOrder, placed: bool) -> Vec<u64> {
        let mut asked = Vec::new();
        while let Some(number) = order.turn {
            assert_eq!((order.take_call(), order.take_call()), (Some(number), None));
            asked.push(number);
            match placed {
                true => assert!(order.leave(number, true)),
                false => order.still_waits(number, order.seats[&number].key, 2),
            }
        }
        asked
    }

    #[test]
    fn smallest_key_is_asked_first_and_of_equal_ones_the_first_that_came() {
        let mut order = held(&[3.0, 1.0, 2.0, 1.0]);
        assert_eq!(order.turn, None, "nothing has changed");
        order.stir();
        assert_eq!(asked(&mut order, true), [2, 4, 3, 1]);
    }

    #[test]
    fn round_ends_after_so_many_in_a_row_and_a_placed_one_begins_the_row_anew() {
        let mut order = held(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        order.stir();
        order.still_waits(1, WaitKey::new(1.0), 2);
        assert!(order.leave(2, true));
        assert_eq!(asked(&mut order, false), [3, 4]);
        order.stir();
        assert_eq!(asked(&mut order, false), [1, 3]);
    }

    #[test]
    fn nobody_is_asked_twice_in_a_round_though_its_key_grows() {
        let mut order = held(&[1.0, 2.0]);
        order.stir();
        order.still_waits(1, WaitKey::new(9.0), 1000);
        assert_eq!(order.turn, Some(2));
        order.still_waits(2, WaitKey::new(10.0), 1000);
        assert_eq!(order.turn, None);
    }

    #[test]
    fn change_within_a_round_is_followed_by_another() {
        let mut order = held(&[1.0, 2.0, 3.0]);
        order.stir();
        order.stir();
        assert_eq!(asked(&mut order, false), [1, 2, 1, 2]);
    }

    #[test]
    fn one_whose_time_is_over_is_asked_next_and_alone() {
        let mut order = held(&[1.0, 2.0, 3.0]);
        order.is_due(3);
        assert_eq!(asked(&mut order, true), [3]);
        order.stir();
        order.is_due(2);
        assert_eq!(order.turn, Some(1), "one at a time");
        order.still_waits(1, WaitKey::new(1.0), 2);
        assert_eq!(order.turn, Some(2));
    }

    #[test]
    fn one_who_is_gone_passes_the_turn_on() {
        let mut order = held(&[1.0, 2.0, 3.0]);
        order.stir();
        assert!(order.leave(2, false));
        assert!(order.leave(1, false));
        assert_eq!(order.turn, Some(3));
        assert!(order.leave(3, false));
        assert_eq!((order.turn, order.seats.len(), order.order.len()), (None, 0, 0));
        order.is_due(3);
        order.stir();
        assert_eq!(order.turn, None);
    }
}
