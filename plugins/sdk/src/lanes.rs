//! 16 workers at a time, in vectors where the plugin is built with `simd128`.
//!
//! The vector form is written with intrinsics, all of them safe: left to itself the
//! compiler does not vectorise these scans. At opt-level 3 they take a third of the
//! scalar form's time; at "s" nothing is inlined and they are slower than it, so
//! plugins are built at 3 (`scripts/build_wasm_plugins.sh`).

/// The little-endian values of 16 workers.
///
/// One cache line. 8 are slower, because the host's time limit costs a check in
/// every turn of a loop; 32 are slower for the small fleets that most are.
pub(crate) type Block = [[u8; 4]; 16];

#[cfg(not(target_feature = "simd128"))]
pub(crate) use crate::lanes::scalar::equal;
#[cfg(not(target_feature = "simd128"))]
pub(crate) use crate::lanes::scalar::lowest;
#[cfg(target_feature = "simd128")]
pub(crate) use crate::lanes::simd::equal;
#[cfg(target_feature = "simd128")]
pub(crate) use crate::lanes::simd::lowest;

#[cfg(not(target_feature = "simd128"))]
mod scalar {
    use crate::lanes::Block;

    /// The lowest value whose mask bit is set; `i32::MAX` without one.
    #[inline]
    pub(crate) fn lowest<'w>(blocks: impl Iterator<Item = (u16, &'w Block)>) -> i32 {
        blocks.fold(i32::MAX, |lowest, (mask, words)| {
            let values = words.iter().enumerate();
            values.fold(lowest, |lowest, (bit, word)| {
                let chosen = mask >> bit & 1 == 1;
                lowest.min(if chosen { i32::from_le_bytes(*word) } else { i32::MAX })
            })
        })
    }

    /// Which of them have that value.
    #[inline]
    pub(crate) fn equal(words: &Block, value: i32) -> u16 {
        let bits = words.iter().enumerate();
        bits.fold(0, |all, (bit, word)| all | u16::from(i32::from_le_bytes(*word) == value) << bit)
    }
}

#[cfg(target_feature = "simd128")]
mod simd {
    use core::arch::wasm32::{
        i32x4, i32x4_bitmask, i32x4_eq, i32x4_extract_lane, i32x4_min, i32x4_shuffle, i32x4_splat, v128,
        v128_and, v128_bitselect,
    };

    use crate::lanes::Block;

    /// Four workers; the compiler turns this into one load.
    #[inline]
    fn load([a, b, c, d]: &[[u8; 4]; 4]) -> v128 {
        let [a, b, c, d] = [a, b, c, d].map(|word| i32::from_le_bytes(*word));
        i32x4(a, b, c, d)
    }

    /// The lowest value whose mask bit is set; `i32::MAX` without one.
    #[inline]
    pub(crate) fn lowest<'w>(blocks: impl Iterator<Item = (u16, &'w Block)>) -> i32 {
        let max = i32x4_splat(i32::MAX);
        let bits = i32x4(1, 2, 4, 8);
        let lanes = blocks.fold(max, |lowest, (mask, block)| {
            let quads = block.as_chunks().0.iter().zip((0..).step_by(4));
            quads.fold(lowest, |lowest, (quad, shift)| {
                let mask = v128_and(i32x4_splat(i32::from(mask >> shift)), bits);
                i32x4_min(lowest, v128_bitselect(load(quad), max, i32x4_eq(mask, bits)))
            })
        });
        let lanes = i32x4_min(lanes, i32x4_shuffle::<2, 3, 0, 1>(lanes, lanes));
        let lanes = i32x4_min(lanes, i32x4_shuffle::<1, 0, 3, 2>(lanes, lanes));
        i32x4_extract_lane::<0>(lanes)
    }

    /// Which of them have that value.
    #[inline]
    pub(crate) fn equal(block: &Block, value: i32) -> u16 {
        let value = i32x4_splat(value);
        let quads = block.as_chunks().0.iter().zip((0..).step_by(4));
        quads.fold(0, |all, (quad, shift)| {
            all | u16::from(i32x4_bitmask(i32x4_eq(load(quad), value))) << shift
        })
    }
}
