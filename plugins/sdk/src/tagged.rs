//! What a policy remembers of the requests that it placed.

use alloc::vec::Vec;

/// Notes by the tags that go with choices ([`Choice::with_tag`](crate::Choice::with_tag)) and come back with
/// events. Of more than its capacity the oldest give way, so it never grows beyond that.
///
/// ```
/// use sgl_policy_sdk::Tagged;
/// let mut placed = Tagged::new(7, 1_000);
/// let tag = placed.keep("a prompt of 400 tokens");
/// assert_eq!(placed.take(tag), Some("a prompt of 400 tokens"));
/// assert_eq!(placed.take(tag), None);
/// ```
#[derive(Debug)]
pub struct Tagged<T> {
    entries: Vec<Option<(u64, T)>>,
    capacity: usize,
    /// Where the next note goes, and its tag.
    next: usize,
    tag: u64,
}

impl<T> Tagged<T> {
    /// Without notes. `seed` is [`Init::seed`](crate::abi::Init::seed): tags of other generations, whose
    /// events may still come, are then no tags of this one.
    #[must_use]
    pub const fn new(seed: u64, capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity, next: 0, tag: seed }
    }

    /// Keeps a note; its tag.
    pub fn keep(&mut self, note: T) -> u64 {
        self.tag = self.tag.wrapping_add(1);
        let entry = Some((self.tag, note));
        match self.entries.get_mut(self.next) {
            Some(oldest) => *oldest = entry,
            None => self.entries.push(entry),
        }
        self.next = (self.next + 1) % self.capacity.max(1);
        self.tag
    }

    /// The note of this tag.
    #[must_use]
    pub fn get_mut(&mut self, tag: u64) -> Option<&mut T> {
        let at = self.position(tag)?;
        self.entries.get_mut(at)?.as_mut().filter(|(known, _)| *known == tag).map(|(_, note)| note)
    }

    /// The same, and forgets it.
    #[must_use]
    pub fn take(&mut self, tag: u64) -> Option<T> {
        let at = self.position(tag)?;
        self.entries.get_mut(at)?.take_if(|(known, _)| *known == tag).map(|(_, note)| note)
    }

    /// Where the note of this tag is, if it is one of the last ones.
    fn position(&self, tag: u64) -> Option<usize> {
        let back = usize::try_from(self.tag.wrapping_sub(tag)).ok()?.checked_add(1)?;
        let capacity = self.capacity.max(1);
        if back > capacity { None } else { Some((self.next + capacity - back) % capacity) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_gives_back_each_note_once_and_forgets_the_oldest() {
        let mut notes = Tagged::new(u64::MAX - 2, 4);
        let tags: Vec<u64> = (0..6).map(|note| notes.keep(note)).collect();
        assert_eq!((notes.take(tags[0]), notes.take(tags[1])), (None, None));
        *notes.get_mut(tags[2]).unwrap() = 20;
        assert_eq!([2, 3, 4, 5].map(|note| notes.take(tags[note])), [Some(20), Some(3), Some(4), Some(5)]);
        assert_eq!([2, 3, 4, 5].map(|note| notes.take(tags[note])), [None; 4]);
        for unknown in [0, 7, u64::MAX / 2, tags[5].wrapping_add(1)] {
            assert_eq!(notes.take(unknown), None);
        }
        let tag = notes.keep(6);
        assert_eq!(notes.take(tag), Some(6));
        assert_eq!(notes.entries.len(), 4);
    }
}
