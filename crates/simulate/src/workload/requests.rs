//! The requests of a simulation.

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

/// Requests in the order of their arrival.
///
/// Prompts are known by their units: parts of equal length, the last one shorter, each with an id. Two
/// prompts begin alike as far as their ids are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    unit_tokens: u32,
    requests: Vec<AskedRequest>,
    units: Vec<u64>,
}

impl Workload {
    /// No requests yet; a unit is to have so many tokens, at least 1.
    pub fn new(unit_tokens: u32) -> Self {
        Self { unit_tokens: unit_tokens.max(1), requests: Vec::new(), units: Vec::new() }
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
}
