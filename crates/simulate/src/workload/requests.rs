//! The requests of a simulation.

use crate::workload::header_mix::HeaderMix;
use crate::workload::request_traits::RequestTraits;

/// A request, as far as it is known before it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AskedRequest {
    /// Seconds from the beginning.
    pub at: f64,
    /// Tokens of its prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens of its answer, at least 1.
    pub output_tokens: u32,
    /// Where its units begin among all, and how many it has.
    units: (u32, u32),
}

/// A request's place in its session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionTurn {
    /// The number of the session.
    pub session: u32,
    /// The request before it in the session. It comes only once that is answered, and its prompt begins
    /// with that one's prompt and answer.
    pub after: Option<u32>,
    /// Seconds from the end of that answer to this request.
    pub think: f64,
}

/// Requests in the order of their arrival; those that follow others come when these are answered.
///
/// Prompts are known by their units: parts of equal length, the last one shorter, each with an id. Two
/// prompts begin alike as far as their ids are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    unit_tokens: u32,
    requests: Vec<AskedRequest>,
    units: Vec<u64>,
    /// One of each request, or none at all.
    turns: Vec<SessionTurn>,
    /// The number of the request that follows each; [`NOBODY`] if none does.
    next: Vec<u32>,
    /// What each says of the length of its answer, or nothing of any.
    limits: Vec<Option<u64>>,
    traits: RequestTraits,
}

/// No request.
const NOBODY: u32 = u32::MAX;

impl Workload {
    /// No requests yet; a unit is to have so many tokens, at least 1.
    pub fn new(unit_tokens: u32) -> Self {
        Self {
            unit_tokens: unit_tokens.max(1),
            requests: Vec::new(),
            units: Vec::new(),
            turns: Vec::new(),
            next: Vec::new(),
            limits: Vec::new(),
            traits: RequestTraits::default(),
        }
    }

    /// Adds a request that comes no earlier than those before, with an id for each unit of its prompt. What
    /// has no id is like no other prompt.
    pub fn push(&mut self, at: f64, prompt_tokens: u32, output_tokens: u32, ids: &[u64]) {
        let prompt_tokens = prompt_tokens.max(1);
        let count = prompt_tokens.div_ceil(self.unit_tokens);
        let first = number_of(self.units.len());
        let own = u64::from(number_of(self.requests.len()));
        // Ids of traces are small, or hashes: none looks like one of these by chance.
        let unknown = |unit: u32| 0xa5a5 << 48 ^ own << 20 ^ u64::from(unit);
        let known = |unit: u32| ids.get(unit as usize).copied();
        self.units.extend((0..count).map(|unit| known(unit).unwrap_or_else(|| unknown(unit))));
        let output_tokens = output_tokens.max(1);
        self.requests.push(AskedRequest { at, prompt_tokens, output_tokens, units: (first, count) });
    }

    /// The same requests with their places in sessions, one for each of them. What says that it follows
    /// itself, a later one, or one that another follows already, follows nobody.
    #[must_use]
    pub fn with_turns(mut self, mut turns: Vec<SessionTurn>) -> Self {
        let gap = SessionTurn { session: NOBODY, after: None, think: 0.0 };
        turns.resize(self.requests.len(), gap);
        self.next = vec![NOBODY; turns.len()];
        for (turn, number) in turns.iter_mut().zip(0..) {
            let before = turn.after.filter(|before| *before < number);
            let free = before.and_then(|before| self.next.get_mut(before as usize));
            match free.filter(|next| **next == NOBODY) {
                Some(next) => *next = number,
                None => turn.after = None,
            }
        }
        self.turns = turns;
        self
    }

    /// The same with what each request says of the length of its answer.
    #[must_use]
    pub fn with_limits(self, limits: Vec<Option<u64>>) -> Self {
        Self { limits, ..self }
    }

    /// The same with these traits of its requests.
    #[must_use]
    pub fn with_traits(self, traits: RequestTraits) -> Self {
        Self { traits, ..self }
    }

    /// What tells its requests apart besides their prompts.
    pub fn traits(&self) -> &RequestTraits {
        &self.traits
    }

    /// Tokens that a request says its answer may have.
    pub fn max_tokens(&self, number: u32) -> Option<u64> {
        let known = self.limits.get(number as usize).copied().flatten();
        self.request(number).and_then(|asked| self.traits.max_tokens.of(asked.output_tokens, known))
    }

    /// The place of the value that a request has of a header, drawn with this seed.
    pub(crate) fn header_value(&self, mix: &HeaderMix, seed: u64, number: u32) -> Option<usize> {
        mix.drawn(seed, self.turn(number).map_or(number, |turn| turn.session))
    }

    /// The same so many times, one after the other. Prompts and sessions of a repetition are unlike those of others.
    #[must_use]
    pub fn repeated(&self, times: u32) -> Self {
        let last = self.requests.last().map_or(0.0, |asked| asked.at);
        // As far apart as two requests are on average.
        let period = last + last / f64::from(self.len().max(1));
        let known = self.turns.iter().map(|turn| turn.session).filter(|session| *session != NOBODY);
        let sessions = known.max().map_or(0, |last| last + 1);
        let mut all = Self { traits: self.traits.clone(), ..Self::new(self.unit_tokens) };
        let (mut turns, mut ids) = (Vec::new(), Vec::new());
        for repetition in 0..times {
            let before = all.len();
            let salt = u64::from(repetition).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (asked, number) in self.requests.iter().zip(0..) {
                ids.clear();
                ids.extend(self.units(number).iter().map(|id| id ^ salt));
                let at = asked.at + f64::from(repetition) * period;
                all.push(at, asked.prompt_tokens, asked.output_tokens, &ids);
            }
            turns.extend(self.turns.iter().map(|turn| SessionTurn {
                session: turn.session.saturating_add(repetition.saturating_mul(sessions)),
                after: turn.after.map(|number| number + before),
                think: turn.think,
            }));
            all.limits.extend_from_slice(&self.limits);
        }
        if turns.is_empty() { all } else { all.with_turns(turns) }
    }

    /// True if requests belong to sessions.
    #[inline]
    pub fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// A request's place in its session.
    pub fn turn(&self, number: u32) -> Option<&SessionTurn> {
        self.turns.get(number as usize)
    }

    /// The request that follows one, if its session goes on.
    pub fn next_turn(&self, number: u32) -> Option<u32> {
        self.next.get(number as usize).copied().filter(|next| *next != NOBODY)
    }

    /// The ids of the whole units of a prompt and its answer, as far as the request that follows says them.
    pub fn whole_units_with_answer(&self, number: u32) -> &[u64] {
        let own = self.whole_units(number);
        let (Some(asked), Some(next)) = (self.request(number), self.next_turn(number)) else { return own };
        let tokens = asked.prompt_tokens.saturating_add(asked.output_tokens);
        let all = self.whole_units(next);
        let all = all.get(..((tokens / self.unit_tokens) as usize).min(all.len())).unwrap_or_default();
        if all.starts_with(own) { all } else { own }
    }

    /// Tokens of a unit.
    pub fn unit_tokens(&self) -> u32 {
        self.unit_tokens
    }

    /// All requests.
    pub fn requests(&self) -> &[AskedRequest] {
        &self.requests
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        number_of(self.requests.len())
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// One of them.
    pub fn request(&self, number: u32) -> Option<&AskedRequest> {
        self.requests.get(number as usize)
    }

    /// The ids of a prompt's units.
    pub fn units(&self, number: u32) -> &[u64] {
        let Some(request) = self.request(number) else { return &[] };
        let first = request.units.0 as usize;
        self.units.get(first..first + request.units.1 as usize).unwrap_or_default()
    }

    /// The ids of those units of a prompt that are whole.
    pub fn whole_units(&self, number: u32) -> &[u64] {
        let whole = self.request(number).map_or(0, |request| request.prompt_tokens / self.unit_tokens);
        self.units(number).get(..whole as usize).unwrap_or_default()
    }
}

/// Counts of requests and units are numbered with 32 bits.
fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_an_id_for_each_unit_and_share_only_what_they_were_given() {
        let mut workload = Workload::new(512);
        workload.push(0.0, 1300, 7, &[1, 2, 3]);
        workload.push(1.0, 1300, 7, &[1]);
        workload.push(2.0, 0, 0, &[]);
        assert_eq!((workload.units(0), workload.whole_units(0)), (&[1, 2, 3][..], &[1, 2][..]));
        let other = workload.units(1);
        assert!(other.len() == 3 && other[0] == 1 && !other[1..].iter().any(|id| (1..=3).contains(id)));
        assert!(!other.contains(&workload.units(2)[0]));
        let last = workload.request(2).unwrap();
        assert_eq!((last.prompt_tokens, last.output_tokens, workload.whole_units(2).len()), (1, 1, 0));
        assert!(workload.request(3).is_none() && workload.units(3).is_empty());
    }

    #[test]
    fn repetitions_are_alike_in_all_but_their_prompts_and_sessions() {
        let mut workload = Workload::new(10);
        workload.push(0.0, 25, 20, &[1, 2, 3]);
        workload.push(9.0, 60, 1, &[1, 2, 4, 5, 6, 7]);
        let turn = |session, after| SessionTurn { session, after, think: 1.0 };
        let workload =
            workload.with_turns(vec![turn(0, None), turn(0, Some(0))]).with_limits(vec![Some(5), None]);
        assert_eq!(workload.repeated(1), workload);
        let all = workload.repeated(3);
        let at: Vec<f64> = all.requests().iter().map(|asked| asked.at).collect();
        assert_eq!(at, [0.0, 9.0, 13.5, 22.5, 27.0, 36.0]);
        for number in 2..6 {
            let (own, first) = (all.turn(number).unwrap(), workload.turn(number % 2).unwrap());
            assert_eq!(
                (own.session, own.after),
                (number / 2, first.after.map(|before| before + number / 2 * 2))
            );
            assert_eq!(all.max_tokens(number), workload.max_tokens(number % 2));
            assert!(all.units(number).iter().all(|id| !workload.units(number % 2).contains(id)));
            assert_eq!(all.units(number)[..2], all.units(number / 2 * 2)[..2]);
        }
    }

    #[test]
    fn answer_has_the_ids_that_the_request_after_it_says() {
        let mut workload = Workload::new(10);
        workload.push(0.0, 25, 20, &[1, 2, 3]);
        workload.push(0.0, 60, 1, &[1, 2, 4, 5, 6, 7]);
        workload.push(0.0, 60, 1, &[1, 9]);
        let turn = |after| SessionTurn { session: 0, after, think: 1.0 };
        assert!(!workload.has_turns());
        let workload = workload.with_turns(vec![turn(None), turn(Some(0)), turn(Some(1))]);
        assert_eq!((workload.next_turn(0), workload.next_turn(2)), (Some(1), None));
        assert_eq!(workload.whole_units_with_answer(0), [1, 2, 4, 5]);
        assert_eq!(workload.whole_units_with_answer(1).len(), 6, "what follows begins otherwise");
        let odd = workload.with_turns(vec![turn(Some(0)), turn(Some(0)), turn(Some(0))]);
        let after = |number| odd.turn(number).and_then(|turn| turn.after);
        assert_eq!((after(0), after(1), after(2)), (None, Some(0), None));
    }
}
