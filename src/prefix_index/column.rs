//! A walk's answer as a column of tokens.

/// Where workers stand in a column: by their place in the index, which is that of their slot.
#[derive(Clone, Debug, Default)]
pub enum ColumnOrder {
    /// As in the index.
    #[default]
    Same,
    /// At the position given for each place in the index; `u32::MAX` for places that are in no column.
    Mapped(Box<[u32]>),
}

/// Bytes of a cell.
const WIDTH: usize = 4;

/// Writes into all workers of one word of a set that they hold so many tokens.
#[inline]
pub(super) fn write(column: &mut [[u8; WIDTH]], order: &ColumnOrder, place: usize, bits: u64, tokens: i32) {
    let cell = tokens.to_le_bytes();
    match order {
        ColumnOrder::Same => {
            let rest = column.get_mut(place * 64..).unwrap_or_default();
            match rest.first_chunk_mut::<64>() {
                Some(all) if bits == u64::MAX => *all = [cell; 64],
                _ => each(bits, |bit| set(rest, bit, cell)),
            }
        }
        ColumnOrder::Mapped(positions) => each(bits, |bit| {
            if let Some(position) = positions.get(place * 64 + bit) {
                set(column, *position as usize, cell);
            }
        }),
    }
}

#[inline]
fn set(column: &mut [[u8; WIDTH]], at: usize, cell: [u8; WIDTH]) {
    if let Some(own) = column.get_mut(at) {
        *own = cell;
    }
}

#[inline]
fn each(mut bits: u64, mut found: impl FnMut(usize)) {
    while bits != 0 {
        found(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
