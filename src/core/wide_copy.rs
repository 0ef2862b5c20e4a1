//! Columns of atomics, copied by vectors of 32 bytes: half as many stores as by those of 16, and a processor
//! makes about one of either in a cycle. To use them and to stop takes as long as copying a column of a small
//! fleet by the others, so it pays for several columns.

use std::arch::x86_64::{_mm256_set1_epi32, _mm256_setzero_si256};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::core::bulk_copy::{copy_cells, high, low};
use crate::core::moment;

/// Cells that are copied at once.
const BLOCK: usize = 16;

/// Bytes of as many.
const BYTES: usize = BLOCK * 4;

/// From this many cells on, those that are copied as they are go by one instruction, as single columns do.
const STRING_CELLS: usize = 256;

/// A proof that this processor has such vectors. Dropped, it leaves their upper halves clean: otherwise all
/// that uses the lower ones would be slow from then on.
#[derive(Debug)]
pub(crate) struct WideCopy(());

impl WideCopy {
    /// Looked up once, and then a load.
    #[inline]
    pub(crate) fn here() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Copies cells as little-endian bytes. `out` has four bytes for each.
    #[inline]
    pub(crate) fn cells(&self, cells: &[AtomicU32], out: &mut [u8]) {
        if cells.len() >= STRING_CELLS {
            return copy_cells(cells, out);
        }
        let ((blocks, cells), (out_blocks, out)) = (cells.as_chunks(), out.as_chunks_mut());
        #[expect(unsafe_code, reason = "the processor has what it needs")]
        // SAFETY: `self` is the proof.
        unsafe {
            copy_blocks(blocks, out_blocks);
        }
        copy_rest(cells, out, |cell| cell.load(Ordering::Relaxed));
    }

    /// Copies cells that hold moments as ages at this one.
    #[inline]
    pub(crate) fn ages(&self, cells: &[AtomicU32], now: u32, out: &mut [u8]) {
        let ((blocks, cells), (out_blocks, out)) = (cells.as_chunks(), out.as_chunks_mut());
        #[expect(unsafe_code, reason = "the processor has what it needs")]
        // SAFETY: `self` is the proof.
        unsafe {
            copy_age_blocks(blocks, now, out_blocks);
        }
        copy_rest(cells, out, |cell| moment::age(cell.load(Ordering::Relaxed), now).cast_unsigned());
    }

    /// Copies one half of each cell, 0 the low one.
    #[inline]
    pub(crate) fn halves<const HALF: usize>(&self, cells: &[AtomicU64], out: &mut [u8]) {
        let ((blocks, cells), (out_blocks, out)) = (cells.as_chunks(), out.as_chunks_mut());
        #[expect(unsafe_code, reason = "the processor has what it needs")]
        // SAFETY: `self` is the proof.
        unsafe {
            copy_half_blocks::<HALF>(blocks, out_blocks);
        }
        let half = if HALF == 0 { low } else { high };
        copy_rest(cells, out, |cell| half(cell.load(Ordering::Relaxed)));
    }
}

impl Drop for WideCopy {
    #[inline]
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the processor has what it needs")]
        // SAFETY: it clears the upper halves of all vectors, which nobody uses who does not know of them; `self`
        // is the proof that there are any.
        unsafe {
            std::arch::asm!("vzeroupper", options(nomem, nostack, preserves_flags));
        }
    }
}

#[inline]
fn copy_rest<T>(cells: &[T], out: &mut [u8], number: impl Fn(&T) -> u32) {
    for (bytes, cell) in out.as_chunks_mut().0.iter_mut().zip(cells) {
        *bytes = number(cell).to_le_bytes();
    }
}

// In assembly for the same reason as in `bulk_copy`: a plain copy of memory that others write to is undefined
// in the language. An aligned word is read whole here too.

#[target_feature(enable = "avx2")]
fn copy_blocks(blocks: &[[AtomicU32; BLOCK]], out: &mut [[u8; BYTES]]) {
    for (cells, out) in blocks.iter().zip(out) {
        #[expect(unsafe_code, reason = "a bulk copy of atomics has no safe form")]
        // SAFETY: it reads the 64 bytes of `cells` and writes those of `out`, aligned or not, which cannot
        // overlap (`&mut`).
        unsafe {
            std::arch::asm!(
                "vmovdqu {a}, [{from}]",
                "vmovdqu {b}, [{from} + 32]",
                "vmovdqu [{to}], {a}",
                "vmovdqu [{to} + 32], {b}",
                from = in(reg) cells.as_ptr(),
                to = in(reg) out.as_mut_ptr(),
                a = out(ymm_reg) _,
                b = out(ymm_reg) _,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// As [`moment::age`].
#[target_feature(enable = "avx2")]
fn copy_age_blocks(blocks: &[[AtomicU32; BLOCK]], now: u32, out: &mut [[u8; BYTES]]) {
    let (now, zero) = (_mm256_set1_epi32(now.cast_signed()), _mm256_setzero_si256());
    let unknown = _mm256_set1_epi32(-1);
    for (cells, out) in blocks.iter().zip(out) {
        #[expect(unsafe_code, reason = "a bulk copy of atomics has no safe form")]
        // SAFETY: as in `copy_blocks`.
        unsafe {
            std::arch::asm!(
                "vmovdqu {a}, [{from}]",
                "vmovdqu {b}, [{from} + 32]",
                "vpsubd {c}, {now}, {a}",
                "vpsubd {d}, {now}, {b}",
                "vpmaxsd {c}, {c}, {zero}",
                "vpmaxsd {d}, {d}, {zero}",
                // All bits of the unknown value, which moments and ages share.
                "vpcmpeqd {a}, {a}, {unknown}",
                "vpcmpeqd {b}, {b}, {unknown}",
                "vpor {a}, {a}, {c}",
                "vpor {b}, {b}, {d}",
                "vmovdqu [{to}], {a}",
                "vmovdqu [{to} + 32], {b}",
                from = in(reg) cells.as_ptr(),
                to = in(reg) out.as_mut_ptr(),
                now = in(ymm_reg) now,
                zero = in(ymm_reg) zero,
                unknown = in(ymm_reg) unknown,
                a = out(ymm_reg) _,
                b = out(ymm_reg) _,
                c = out(ymm_reg) _,
                d = out(ymm_reg) _,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[target_feature(enable = "avx2")]
fn copy_half_blocks<const HALF: usize>(blocks: &[[AtomicU64; BLOCK]], out: &mut [[u8; BYTES]]) {
    for (cells, out) in blocks.iter().zip(out) {
        #[expect(unsafe_code, reason = "a bulk copy of atomics has no safe form")]
        // SAFETY: it reads the 128 bytes of `cells` and writes the 64 of `out`, aligned or not, which cannot
        // overlap (`&mut`).
        unsafe {
            std::arch::asm!(
                "vmovups {a}, [{from}]",
                "vmovups {b}, [{from} + 64]",
                // Of each pair of numbers the first or the second …
                "vshufps {a}, {a}, [{from} + 32], {pick}",
                "vshufps {b}, {b}, [{from} + 96], {pick}",
                // … which leaves the two in the middle the wrong way around.
                "vpermq {a}, {a}, 0xd8",
                "vpermq {b}, {b}, 0xd8",
                "vmovdqu [{to}], {a}",
                "vmovdqu [{to} + 32], {b}",
                pick = const if HALF == 0 { 0x88 } else { 0xdd },
                from = in(reg) cells.as_ptr(),
                to = in(reg) out.as_mut_ptr(),
                a = out(ymm_reg) _,
                b = out(ymm_reg) _,
                options(nostack, preserves_flags)
            );
        }
    }
}
