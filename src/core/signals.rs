//! The changing numbers of workers, in columns that can be copied in bulk.
//!
//! A worker keeps its slot (a chunk and a place in it) for life, so a guard that counts a request in
//! flight always finds the number that it raised, whatever happened to the table since.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sgl_policy_abi::Column;

/// Workers in one chunk. 1024 keeps a table of a thousand in one copy per column, and an empty
/// router at 29 KiB.
pub(crate) const CHUNK_SLOTS: usize = 1024;

type ColumnCells = [AtomicU32; CHUNK_SLOTS];

/// Signals of up to [`CHUNK_SLOTS`] workers.
///
/// # Concurrency
///
/// Every number is an independent gauge: all accesses are `Relaxed`, and a reader that copies a
/// column may see some workers before and some after a concurrent change. That is benign: a
/// policy decides on numbers that are a moment old either way.
pub(crate) struct SignalChunk {
    columns: [Box<ColumnCells>; Column::COUNT],
    healthy: [AtomicU64; CHUNK_SLOTS / 64],
}

/// Leaves out its thousands of numbers.
impl fmt::Debug for SignalChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalChunk").finish_non_exhaustive()
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "slots are below CHUNK_SLOTS by construction of runs and workers"
)]
impl SignalChunk {
    pub(crate) fn new() -> Self {
        let columns = Column::ALL.map(|column| {
            Box::new([const { AtomicU32::new(0) }; CHUNK_SLOTS].map(|_| AtomicU32::new(column.unknown())))
        });
        Self { columns, healthy: [const { AtomicU64::new(0) }; CHUNK_SLOTS / 64] }
    }

    /// True if no request is in flight to any of its slots.
    pub(crate) fn is_idle(&self) -> bool {
        (0..CHUNK_SLOTS).all(|slot| self.load(Column::Load, slot) == 0)
    }

    /// Sets the slot back to "unknown, not healthy" for its next owner. Requests in flight stay counted:
    /// there are none, unless the next owner is the last one come back.
    pub(crate) fn reset(&self, slot: usize) {
        for column in Column::ALL.into_iter().filter(|column| *column != Column::Load) {
            self.store(column, slot, column.unknown());
        }
        self.set_healthy(slot, false);
    }

    #[inline]
    pub(crate) fn load(&self, column: Column, slot: usize) -> u32 {
        self.columns[column as usize][slot].load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn store(&self, column: Column, slot: usize, bits: u32) {
        self.columns[column as usize][slot].store(bits, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add_load(&self, slot: usize) {
        self.columns[Column::Load as usize][slot].fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn sub_load(&self, slot: usize) {
        self.columns[Column::Load as usize][slot].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_healthy(&self, slot: usize, healthy: bool) {
        let bit = 1_u64 << (slot % 64);
        let word = &self.healthy[slot / 64];
        if healthy {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_healthy(&self, slot: usize) -> bool {
        self.healthy[slot / 64].load(Ordering::Relaxed) & (1 << (slot % 64)) != 0
    }

    /// The 64 health bits that start at word `word`.
    #[inline]
    pub(crate) fn healthy_word(&self, word: usize) -> u64 {
        self.healthy[word].load(Ordering::Relaxed)
    }

    /// Copies `out.len() / 4` workers of a column, from slot `first` on.
    #[inline]
    pub(crate) fn copy(&self, column: Column, first: usize, out: &mut [u8]) {
        let workers = out.len() / Column::WIDTH;
        copy_cells(&self.columns[column as usize][first..first + workers], out);
    }
}

/// From this many cells on, a column is copied with one instruction: to begin it takes as long as to
/// copy half of them by blocks.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const STRING_CELLS: usize = 256;

/// Copies cells as little-endian bytes. `out` has four bytes for each.
#[inline]
fn copy_cells(cells: &[AtomicU32], out: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if cells.len() >= STRING_CELLS && out.len() >= size_of_val(cells) {
        return copy_string(cells, out);
    }
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (cells, out) = {
        let (blocks, cells) = cells.as_chunks();
        let (out_blocks, out) = out.as_chunks_mut();
        blocks.iter().zip(out_blocks).for_each(|(block, out)| copy_block(block, out));
        (cells, out)
    };
    for (bytes, cell) in out.chunks_exact_mut(Column::WIDTH).zip(cells) {
        bytes.copy_from_slice(&cell.load(Ordering::Relaxed).to_le_bytes());
    }
}

// Compilers copy atomics one by one, which takes most of a decision over a thousand workers. The two
// below are in assembly, because a plain copy of memory that others write to is undefined in the
// language. On the machine it is not: an aligned word is read whole, before or after a concurrent write,
// as by a relaxed load of each cell.

/// Copies sixteen cells, four at a time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[expect(unsafe_code, reason = "a bulk copy of atomics has no safe form")]
fn copy_block(cells: &[AtomicU32; 16], out: &mut [u8; 64]) {
    // SAFETY: it reads the 64 bytes of `cells` and writes those of `out`, aligned or not, which
    // cannot overlap (`&mut`).
    unsafe {
        std::arch::asm!(
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            from = in(reg) cells.as_ptr(),
            to = in(reg) out.as_mut_ptr(),
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies all cells.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[expect(unsafe_code, reason = "a bulk copy of atomics has no safe form")]
fn copy_string(cells: &[AtomicU32], out: &mut [u8]) {
    // SAFETY: it reads `cells` as a whole and nothing else, and writes as many bytes of `out`, which has
    // them (the caller checks) and cannot overlap (`&mut`). It leaves the direction flag clear, as the
    // ABI requires.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") size_of_val(cells) => _,
            inout("rsi") cells.as_ptr() => _,
            inout("rdi") out.as_mut_ptr() => _,
            options(nostack, preserves_flags)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_every_length_are_copied_whole_and_nothing_else_is_written() {
        let chunk = SignalChunk::new();
        let number = |slot: usize| 7 * u32::try_from(slot).unwrap();
        (0..CHUNK_SLOTS).for_each(|slot| chunk.store(Column::Running, slot, number(slot)));
        for workers in (0..200).chain([CHUNK_SLOTS - 5]) {
            let first = 5.min(CHUNK_SLOTS - workers);
            let mut out = vec![0xEE; workers * 4 + 8];
            chunk.copy(Column::Running, first, &mut out[..workers * 4]);
            let (copied, rest) = out.split_at(workers * 4);
            let words = copied.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
            assert!(words.eq((first..first + workers).map(number)), "{workers}");
            assert_eq!(rest, [0xEE; 8], "{workers}");
        }
    }
}
