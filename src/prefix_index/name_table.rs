//! Where one worker's reported blocks are, by their names.

use crate::prefix_index::entries::EntryId;

/// Bits of a name's hash that a slot has.
pub(super) const TAG_BITS: u32 = 24;
/// Homes of the smallest table.
const MIN_HOMES: usize = 64;
/// Slots behind the last home, for those that find theirs taken; more are made where these do not do.
const SPARE: usize = 64;

/// A block in a table: the tag of its name, the lower 8 bits of its depth, and the entry that has it, plus one.
///
/// A node has no more than 256 blocks, so that these 8 bits are its place in the node, wherever the node is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NameSlot(u64);

impl NameSlot {
    #[expect(clippy::cast_possible_truncation, reason = "the other bits are those of others")]
    pub(super) fn new(tag: u32, depth: usize, entry: EntryId) -> Self {
        Self(u64::from(tag) << 40 | u64::from(depth as u8) << 32 | u64::from(entry.wrapping_add(1)))
    }

    fn tag(self) -> u64 {
        self.0 >> 40
    }

    fn is_free(self) -> bool {
        self.0 == 0
    }

    /// The lower bits of its depth.
    #[expect(clippy::cast_possible_truncation, reason = "the others are not asked for")]
    pub(super) fn low_depth(self) -> u8 {
        (self.0 >> 32) as u8
    }

    #[expect(clippy::cast_possible_truncation, reason = "the other half is not asked for")]
    pub(super) fn entry(self) -> EntryId {
        (self.0 as u32).wrapping_sub(1)
    }

    fn with_entry(self, entry: EntryId) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(entry.wrapping_add(1)))
    }
}

/// A hash table in one array, in the order of tags: a slot is at its home, or behind it with no free slot between.
///
/// So a search ends at the first larger tag however full the table is, and a table of another size is made by one
/// look through the slots. It grows by a sixteenth, because memory that is not used counts: it is 85 to 90 % full,
/// or 75 after it was fuller.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    slots: Vec<NameSlot>,
    homes: usize,
    count: usize,
}

impl NameTable {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<NameSlot>()
    }

    /// Bytes that it takes once it has so many blocks more.
    pub(super) fn bytes_with(&self, more: usize) -> usize {
        let count = self.count + more;
        if fits(count, self.homes) {
            self.bytes()
        } else {
            (homes_for(count) + SPARE) * size_of::<NameSlot>()
        }
    }

    /// Makes room for so many blocks more.
    pub(super) fn reserve(&mut self, more: usize) {
        if !fits(self.count + more, self.homes) {
            self.rebuild(homes_for(self.count + more));
        }
    }

    /// The first slot with this tag that `is_it` accepts.
    pub(super) fn find(&self, tag: u32, mut is_it: impl FnMut(NameSlot) -> bool) -> Option<NameSlot> {
        let tag = u64::from(tag);
        let slots = self.slots.get(self.home(tag)..)?.iter();
        let mut own = slots.take_while(|slot| !slot.is_free() && slot.tag() <= tag);
        own.find(|slot| slot.tag() == tag && is_it(**slot)).copied()
    }

    /// Adds a slot. True if another one has its tag.
    pub(super) fn insert(&mut self, slot: NameSlot) -> bool {
        self.reserve(1);
        let from = self.home(slot.tag());
        let mut has_alike = false;
        let mut moved = slot;
        for own in self.slots.get_mut(from..).unwrap_or_default() {
            if own.is_free() || own.tag() > moved.tag() {
                std::mem::swap(own, &mut moved);
                if moved.is_free() {
                    break;
                }
            } else {
                has_alike |= own.tag() == slot.tag();
            }
        }
        if !moved.is_free() {
            self.slots.reserve_exact(SPARE);
            self.slots.push(moved);
        }
        self.count += 1;
        has_alike
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, slot: NameSlot) {
        let Some(mut at) = self.position(slot) else { return };
        // What follows moves up, so that there is no free slot between one and its home.
        while let Some(next) = self.slots.get(at + 1).copied()
            && !next.is_free()
            && self.home(next.tag()) <= at
        {
            self.set(at, next);
            at += 1;
        }
        self.set(at, NameSlot::default());
        self.count -= 1;
        if self.homes > MIN_HOMES && self.count < self.homes / 4 * 3 {
            self.rebuild(homes_for(self.count));
        }
    }

    /// The block is another entry's now.
    pub(super) fn hand_over(&mut self, slot: NameSlot, to: EntryId) {
        if let Some(at) = self.position(slot) {
            self.set(at, slot.with_entry(to));
        }
    }

    fn position(&self, slot: NameSlot) -> Option<usize> {
        let home = self.home(slot.tag());
        let mut slots =
            self.slots.get(home..)?.iter().take_while(|own| !own.is_free() && own.tag() <= slot.tag());
        Some(home + slots.position(|own| *own == slot)?)
    }

    fn set(&mut self, at: usize, slot: NameSlot) {
        if let Some(own) = self.slots.get_mut(at) {
            *own = slot;
        }
    }

    fn home(&self, tag: u64) -> usize {
        home_of(tag, self.homes)
    }

    fn rebuild(&mut self, homes: usize) {
        let slots = std::mem::take(&mut self.slots).into_iter();
        let all: Vec<NameSlot> = slots.filter(|slot| !slot.is_free()).collect();
        self.slots = vec![NameSlot::default(); homes + SPARE];
        self.homes = homes;
        let mut next = 0;
        for slot in all {
            next = self.home(slot.tag()).max(next);
            if next == self.slots.len() {
                self.slots.reserve_exact(SPARE);
                self.slots.push(slot);
            } else {
                self.set(next, slot);
            }
            next += 1;
        }
    }
}

fn home_of(tag: u64, homes: usize) -> usize {
    ((tag * homes as u64) >> TAG_BITS) as usize
}

/// True if a table is not too full with so many: nine of ten, beyond which much moves for a slot more.
fn fits(count: usize, homes: usize) -> bool {
    count * 10 <= homes * 9
}

/// Homes with which a table of so many can grow by a sixteenth.
fn homes_for(count: usize) -> usize {
    (count * 85 / 72 + 8).max(MIN_HOMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random changes, which a list must agree with. Tags are below `tags`, `largest` among them or not.
    fn compare(seed: u64, tags: u32, largest: bool, most: usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut table, mut model) = (NameTable::default(), Vec::<NameSlot>::new());
        for round in 0..30_000_u32 {
            // It fills, and empties again.
            let is_filling = round / 6000 % 2 == 0;
            let may_insert =
                model.is_empty() || model.len() < most && random.u8(0..10) < if is_filling { 8 } else { 3 };
            if may_insert {
                let tag = random.u32(0..tags) << 7;
                let tag = if largest { (1 << TAG_BITS) - 1 - tag } else { tag };
                let slot = NameSlot::new(tag, random.usize(0..3000), round);
                let has_alike = model.iter().any(|other| other.tag() == slot.tag());
                assert_eq!(table.insert(slot), has_alike);
                model.push(slot);
            } else {
                let at = random.usize(0..model.len());
                let slot = model[at];
                let other = slot.with_entry(round);
                table.hand_over(slot, round);
                assert!(table.position(slot).is_none() && table.position(other).is_some());
                if random.bool() {
                    model[at] = other;
                } else {
                    table.remove(other);
                    table.remove(other);
                    model.swap_remove(at);
                }
            }
            let tag = random.u32(0..tags) << 7;
            let tag = if largest { (1 << TAG_BITS) - 1 - tag } else { tag };
            let mut found = Vec::new();
            assert_eq!(
                table.find(tag, |slot| {
                    found.push(slot.0);
                    false
                }),
                None
            );
            let mut expected: Vec<u64> =
                model.iter().filter(|slot| slot.tag() == u64::from(tag)).map(|slot| slot.0).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "round {round}, seed {seed}");
            assert_eq!(table.count, model.len());
            assert!(
                table.bytes()
                    <= 8 * (model.len() * 8 / 5
                        + 8
                        + 2 * MIN_HOMES
                        + 2 * SPARE
                        + tags.min(1) as usize * most)
            );
        }
    }

    #[test]
    fn table_is_a_list_of_slots_by_their_tags_under_random_changes() {
        compare(1, 1 << 17, false, 3000);
        // Few tags, so that searches are long.
        compare(2, 300, false, 600);
        compare(3, 300, true, 600);
        compare(4, 1, true, 400);
    }

    #[test]
    fn table_grows_and_shrinks_with_its_blocks() {
        let mut table = NameTable::default();
        let slot = |nth: u32| NameSlot::new(nth.wrapping_mul(0x9e37_79b1) >> (32 - TAG_BITS), 1, nth);
        for nth in 0..100_000 {
            let expected = table.bytes_with(1);
            table.insert(slot(nth));
            assert_eq!(table.bytes(), expected);
            assert!(table.bytes() < 12 * (nth as usize + 200), "{nth}: {}", table.bytes());
        }
        assert!(table.bytes() > 9 * 100_000);
        (0..99_000).for_each(|nth| table.remove(slot(nth)));
        assert!(table.bytes() < 16 * 1200, "{}", table.bytes());
        assert!((99_000..100_000).all(|nth| table.position(slot(nth)).is_some()));
    }

    #[test]
    fn slot_tells_what_it_was_made_of() {
        let slot = NameSlot::new((1 << TAG_BITS) - 1, 0x1ff, u32::MAX - 1);
        assert_eq!((slot.tag(), slot.low_depth(), slot.entry()), ((1 << TAG_BITS) - 1, 0xff, u32::MAX - 1));
        assert_eq!((slot.with_entry(0).entry(), slot.with_entry(0).low_depth()), (0, 0xff));
        assert!(!NameSlot::new(0, 0, 0).is_free());
    }
}
