//! The elements of a message in the form that the router writes: each goes by value from what is left of the
//! message to what is left after it, since what is lent has to lie in memory.

use sgl_policy_abi::{Column, Reader};

use crate::column::Bits;

/// What was taken, and what is left. `None`: it is there in no such form, or not at all.
pub(crate) type Taken<'a, T> = Option<(T, &'a [u8])>;

/// A wide column: one word per worker. The first one counts the workers if no table did.
///
/// All columns of a message have the same header: it is compared with the one that must be there.
#[inline(always)]
pub(crate) fn words<'a>(rest: &'a [u8], workers: &mut Option<usize>) -> Taken<'a, &'a [[u8; 4]]> {
    let (len, rest) = bin(rest)?;
    let bytes = match *workers {
        Some(workers) => workers * Column::WIDTH,
        None => len,
    };
    if len != bytes {
        return None;
    }
    let (column, rest) = rest.split_at_checked(bytes)?;
    let (words, odd) = column.as_chunks::<4>();
    if workers.is_none() {
        if !odd.is_empty() {
            return None;
        }
        *workers = Some(words.len());
    }
    Some((words, rest))
}

/// One bit per worker.
#[inline(always)]
pub(crate) fn bits(rest: &[u8]) -> Taken<'_, Bits<'_>> {
    let (len, rest) = bin(rest)?;
    let (bits, rest) = rest.split_at_checked(len)?;
    Some((Bits::new(bits), rest))
}

/// The header of bytes, up to 64 KiB: a column of more than 16383 workers is read.
#[inline(always)]
fn bin(rest: &[u8]) -> Taken<'_, usize> {
    match rest {
        [0xc4, a, rest @ ..] => Some((usize::from(*a), rest)),
        [0xc5, a, b, rest @ ..] => Some((usize::from(u16::from_be_bytes([*a, *b])), rest)),
        _ => None,
    }
}

/// The header of an array.
#[inline(always)]
pub(crate) fn array(rest: &[u8]) -> Taken<'_, usize> {
    match rest {
        [marker @ 0x90..=0x9f, rest @ ..] => Some((usize::from(marker & 0x0f), rest)),
        [0xdc, a, b, rest @ ..] => Some((usize::from(u16::from_be_bytes([*a, *b])), rest)),
        _ => None,
    }
}

#[inline(always)]
pub(crate) fn uint(rest: &[u8]) -> Taken<'_, u64> {
    match rest {
        [value @ 0..=0x7f, rest @ ..] => Some((u64::from(*value), rest)),
        [0xcc, a, rest @ ..] => Some((u64::from(*a), rest)),
        [0xcd, a, b, rest @ ..] => Some((u64::from(u16::from_be_bytes([*a, *b])), rest)),
        [0xce, a, b, c, d, rest @ ..] => Some((u64::from(u32::from_be_bytes([*a, *b, *c, *d])), rest)),
        [0xcf, a, b, c, d, e, f, g, h, rest @ ..] => {
            Some((u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest))
        }
        _ => None,
    }
}

/// What a reader takes.
#[inline(never)]
pub(crate) fn by<'a, T, E>(
    rest: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, E>,
) -> Taken<'a, T> {
    let mut reader = Reader::new(rest);
    let value = read(&mut reader).ok()?;
    Some((value, reader.rest()))
}
