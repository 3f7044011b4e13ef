//! Ranked trees on any machine: the tops are walked eight trees abreast, without branches.

use super::super::ensemble::{Comparison, Ensemble};
use super::super::number::Real;
use super::ranked::{Machine, Ranked};
use super::search::{self, BLOCK};
use super::sliced::{Aligned, Sliced};
use super::stand::{ABREAST, LANES, Line};
use super::tail::Exits;

/// Adds the leaves that each row reaches to its sums.
pub(super) fn add_leaves<T: Real>(
    ranked: &Ranked<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    slots: &mut Vec<u8>,
) {
    // SAFETY: any machine will do.
    unsafe { ranked.add_leaves::<Any>(ensemble, rows, sums, slots) };
}

/// Adds the leaves that each row reaches to its sums, bit by bit.
pub(super) fn slice<T: Real>(
    sliced: &Sliced<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<Aligned>,
    large: bool,
) {
    // SAFETY: any machine will do, and every x86-64 has vectors of 128 bits.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if large {
            return sliced.add_leaves::<std::arch::x86_64::__m128i, Any>(ensemble, rows, sums, work);
        }
        sliced.add_leaves::<u64, Any>(ensemble, rows, sums, work);
    }
}

/// Any machine.
struct Any;

impl Machine for Any {
    #[inline(always)]
    unsafe fn passed<T: Real>(comparison: Comparison, block: &[T; BLOCK], x: T) -> u32 {
        search::count(comparison, block, x)
    }

    const SCANNED: usize = 0;

    #[inline(always)]
    unsafe fn passing<T: Real>(comparison: Comparison, numbers: *const T, threshold: T) -> u32 {
        // SAFETY: the caller promises so many numbers.
        let numbers = unsafe { &*numbers.cast::<[T; 32]>() };
        let passed = |x: &T| match comparison {
            Comparison::Less => threshold <= *x,
            Comparison::LessEqual => threshold < *x,
        };
        let bits = numbers.iter().zip(0..);
        bits.fold(0, |bits, (x, at)| bits | u32::from(passed(x)) << at)
    }

    #[inline(always)]
    unsafe fn missing<T: Real>(numbers: *const T) -> u32 {
        // SAFETY: the caller promises so many numbers.
        let numbers = unsafe { &*numbers.cast::<[T; 32]>() };
        let bits = numbers.iter().zip(0..);
        bits.fold(0, |bits, (x, at)| bits | u32::from(x.missing()) << at)
    }

    #[inline(always)]
    fn place<T: Real>(bit: usize) -> usize {
        bit
    }

    #[inline(always)]
    unsafe fn top(lines: *const Line, levels: usize, slots: *const u8) -> Exits {
        // SAFETY: the caller promises that so many lines and slots are there.
        unsafe {
            let lines = std::slice::from_raw_parts(lines, (1 << levels) - 1);
            top(lines, levels, &*slots.cast::<[u8; 256]>())
        }
    }
}

/// The exits of a stand's top.
#[inline(always)]
fn top(lines: &[Line], levels: usize, slots: &[u8; 256]) -> Exits {
    let mut exits = [0u8; LANES];
    for lane in (0..LANES).step_by(ABREAST) {
        let mut place = [1usize; ABREAST];
        for _ in 0..levels {
            for (at, place) in place.iter_mut().enumerate() {
                let line = &lines[*place - 1];
                let right = slots[usize::from(line.slots[lane + at])] > line.ranks[lane + at];
                *place = 2 * *place + usize::from(right);
            }
        }
        for (exit, place) in exits[lane..].iter_mut().zip(place) {
            #[expect(clippy::cast_possible_truncation, reason = "a top has at most eight levels")]
            let below = (place - (1 << levels)) as u8;
            *exit = below;
        }
    }
    exits
}
