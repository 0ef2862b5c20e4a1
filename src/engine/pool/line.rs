//! An order of members of a slab: any member can leave at once, however long the line is.

use slab::Slab;

/// Who stands before and after a member of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    before: Option<usize>,
    after: Option<usize>,
}

/// Something that can stand in one line at a time.
pub(crate) trait Member {
    fn links(&mut self) -> &mut Links;
}

/// A line of members, by their keys. Every step touches the member and its neighbours, no others.
#[derive(Debug, Default)]
pub(crate) struct Line {
    first: Option<usize>,
    last: Option<usize>,
}

impl Line {
    /// Who stands first.
    pub(crate) fn first(&self) -> Option<usize> {
        self.first
    }

    /// Puts a member, which stands in no line, behind all others.
    pub(crate) fn enter_last<M: Member>(&mut self, members: &mut Slab<M>, key: usize) {
        let before = self.last.replace(key);
        self.between(members, before, key, None);
    }

    /// Puts a member, which stands in no line, before all others.
    pub(crate) fn enter_first<M: Member>(&mut self, members: &mut Slab<M>, key: usize) {
        let after = self.first.replace(key);
        self.between(members, None, key, after);
    }

    fn between<M: Member>(
        &mut self,
        members: &mut Slab<M>,
        before: Option<usize>,
        key: usize,
        after: Option<usize>,
    ) {
        if let Some(member) = members.get_mut(key) {
            *member.links() = Links { before, after };
        }
        self.join(members, before, Some(key));
        self.join(members, Some(key), after);
    }

    /// Takes a member, which stands in this line, out of it.
    pub(crate) fn leave<M: Member>(&mut self, members: &mut Slab<M>, key: usize) {
        let Some(member) = members.get_mut(key) else { return };
        let Links { before, after } = std::mem::take(member.links());
        self.join(members, before, after);
    }

    /// Makes two neighbours, or one of them an end.
    fn join<M: Member>(&mut self, members: &mut Slab<M>, before: Option<usize>, after: Option<usize>) {
        match before.and_then(|key| members.get_mut(key)) {
            Some(member) => member.links().after = after,
            None => self.first = after,
        }
        match after.and_then(|key| members.get_mut(key)) {
            Some(member) => member.links().before = before,
            None => self.last = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::Cell;
    use std::collections::VecDeque;

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    #[derive(Default)]
    struct Counted(Links);

    impl Member for Counted {
        fn links(&mut self) -> &mut Links {
            STEPS.set(STEPS.get() + 1);
            &mut self.0
        }
    }

    fn order(line: &Line, members: &Slab<Counted>) -> Vec<usize> {
        let next = |key: &usize| members.get(*key).and_then(|member| member.0.after);
        std::iter::successors(line.first(), next).collect()
    }

    #[test]
    fn line_is_what_a_plain_list_would_be_and_every_step_costs_the_same() {
        let random = &mut fastrand::Rng::with_seed(7);
        let (mut line, mut members) = (Line::default(), Slab::new());
        let mut plain: VecDeque<usize> = VecDeque::new();
        let mut longest = 0;
        for round in 0..4000 {
            STEPS.set(0);
            let grows = round < 2000 || round % 2 == 0;
            if plain.is_empty() || (grows && random.u8(0..3) > 0) {
                let key = members.insert(Counted::default());
                if random.bool() {
                    line.enter_last(&mut members, key);
                    plain.push_back(key);
                } else {
                    line.enter_first(&mut members, key);
                    plain.push_front(key);
                }
            } else {
                let key = plain.remove(random.usize(..plain.len())).unwrap();
                line.leave(&mut members, key);
                members.remove(key);
            }
            assert!(STEPS.get() <= 5, "{} steps with {} in line", STEPS.get(), plain.len());
            if round % 64 == 0 {
                assert_eq!(order(&line, &members), Vec::from(plain.clone()));
            }
            assert_eq!(line.first(), plain.front().copied());
            longest = longest.max(plain.len());
        }
        assert!(longest > 100, "{longest}");
    }
}
