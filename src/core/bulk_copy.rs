//! Columns of atomics, copied in bulk.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sgl_policy_abi::Column;

/// The low half of a cell of two numbers.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a half is taken on purpose")]
pub(crate) const fn low(pair: u64) -> u32 {
    pair as u32
}

/// The high half of a cell of two numbers.
#[inline]
pub(crate) const fn high(pair: u64) -> u32 {
    low(pair >> 32)
}

/// From this many cells on, a column is copied with one instruction: to begin it takes as long as to
/// copy half of them by blocks.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const STRING_CELLS: usize = 256;

/// Copies cells as little-endian bytes. `out` has four bytes for each.
#[inline]
pub(crate) fn copy_cells(cells: &[AtomicU32], out: &mut [u8]) {
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

/// Copies one half of each cell, 0 the low one, as little-endian bytes. `out` has four bytes for each.
#[inline]
pub(crate) fn copy_halves<const HALF: usize>(cells: &[AtomicU64], out: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (cells, out) = {
        let (blocks, cells) = cells.as_chunks();
        let (out_blocks, out) = out.as_chunks_mut();
        blocks.iter().zip(out_blocks).for_each(|(block, out)| copy_half_block::<HALF>(block, out));
        (cells, out)
    };
    for (bytes, cell) in out.chunks_exact_mut(Column::WIDTH).zip(cells) {
        let pair = cell.load(Ordering::Relaxed);
        let half = if HALF == 0 { low(pair) } else { high(pair) };
        bytes.copy_from_slice(&half.to_le_bytes());
    }
}

/// Copies a half of sixteen cells, four at a time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[expect(unsafe_code, reason = "a bulk copy of atomics has no safe form")]
fn copy_half_block<const HALF: usize>(cells: &[AtomicU64; 16], out: &mut [u8; 64]) {
    // SAFETY: it reads the 128 bytes of `cells`, and writes the 64 of `out`, aligned or not, which cannot
    // overlap (`&mut`).
    unsafe {
        std::arch::asm!(
            "movups {a}, [{from}]",
            "movups {e}, [{from} + 16]",
            "movups {b}, [{from} + 32]",
            "movups {f}, [{from} + 48]",
            "movups {c}, [{from} + 64]",
            "movups {g}, [{from} + 80]",
            "movups {d}, [{from} + 96]",
            "movups {h}, [{from} + 112]",
            // Of each pair of numbers the first or the second.
            "shufps {a}, {e}, {pick}",
            "shufps {b}, {f}, {pick}",
            "shufps {c}, {g}, {pick}",
            "shufps {d}, {h}, {pick}",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            from = in(reg) cells.as_ptr(),
            to = in(reg) out.as_mut_ptr(),
            pick = const if HALF == 0 { 0x88 } else { 0xdd },
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            e = out(xmm_reg) _,
            f = out(xmm_reg) _,
            g = out(xmm_reg) _,
            h = out(xmm_reg) _,
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
