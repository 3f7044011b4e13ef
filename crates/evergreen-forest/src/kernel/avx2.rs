//! Ranked trees with AVX2: one instruction decides for the thirty-two trees of a stand.

mod passed;
mod tops;

use std::arch::x86_64::__m256i;

use super::super::ensemble::{Comparison, Ensemble};
use super::super::number::Real;
use super::machine::{Machine, Tops};
use super::ranked::Ranked;
use super::sliced::{Aligned, Sliced};
use super::stand::{Line, Step};
use super::tail::Exits;
pub(crate) use passed::Passed;

/// Whether this machine has what the kernel needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
}

/// Adds the leaves that each row reaches to its sums.
///
/// # Safety
/// The kernel is [`available`].
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) unsafe fn add_leaves<T: Real>(
    ranked: &Ranked<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    slots: &mut Vec<u8>,
) {
    macro_rules! with {
        ($tables:literal, $strictly:literal) => {
            // SAFETY: the caller vouches for the machine.
            unsafe { ranked.add_leaves::<Avx2<$tables, $strictly>>(ensemble, rows, sums, slots) }
        };
    }
    let strictly = ranked.ranker.comparison() == Comparison::LessEqual;
    match (ranked.reach.div_ceil(16), strictly) {
        (..=2, false) => with!(2, false),
        (..=2, true) => with!(2, true),
        (..=4, false) => with!(4, false),
        (..=4, true) => with!(4, true),
        (..=8, false) => with!(8, false),
        (..=8, true) => with!(8, true),
        (_, false) => with!(16, false),
        (_, true) => with!(16, true),
    }
}

/// Adds the leaves that each row reaches to its sums, bit by bit.
///
/// # Safety
/// The kernel is [`available`].
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) unsafe fn slice<T: Real>(
    sliced: &Sliced<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<Aligned>,
    many: bool,
) {
    // SAFETY: the caller vouches for the machine.
    unsafe {
        match (many, ensemble.comparison) {
            (true, Comparison::Less) => {
                sliced.add_leaves::<__m256i, Avx2<2, false>>(ensemble, rows, sums, work)
            }
            (true, Comparison::LessEqual) => {
                sliced.add_leaves::<__m256i, Avx2<2, true>>(ensemble, rows, sums, work)
            }
            (false, Comparison::Less) => sliced.add_leaves::<u64, Avx2<2, false>>(ensemble, rows, sums, work),
            (false, Comparison::LessEqual) => {
                sliced.add_leaves::<u64, Avx2<2, true>>(ensemble, rows, sums, work)
            }
        }
    }
}

/// The machine, for models whose tops ask up to `16 · N` slots.
struct Avx2<const N: usize, const STRICTLY: bool>;

impl<const N: usize, const STRICTLY: bool> Machine for Avx2<N, STRICTLY> {
    #[inline(always)]
    unsafe fn passed<T: Real, const B: usize>(_: Comparison, block: &[T; B], x: T) -> u32 {
        // SAFETY: the caller vouches for the machine.
        unsafe { T::passed(block, x, STRICTLY) }
    }

    // Measured: with more the search is quicker.
    const SCANNED: usize = 80;

    #[inline(always)]
    unsafe fn passing<T: Real>(_: Comparison, numbers: *const T, threshold: T) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
        unsafe { T::passing(numbers, threshold, STRICTLY) }
    }

    #[inline(always)]
    unsafe fn missing<T: Real>(numbers: *const T) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
        unsafe { <T as Passed>::missing(numbers) }
    }

    #[inline(always)]
    fn place<T: Real>(bit: usize) -> usize {
        T::place(bit)
    }
}

impl<const N: usize, const STRICTLY: bool> Tops for Avx2<N, STRICTLY> {
    #[inline(always)]
    unsafe fn top(lines: *const Line, levels: usize, slots: *const u8) -> Exits {
        // SAFETY: as the caller promises.
        unsafe { tops::top::<N>(lines, levels, slots) }
    }

    #[inline(always)]
    unsafe fn same(lines: &[Line], slots: *const u8) -> Exits {
        // SAFETY: as the caller promises.
        unsafe { tops::same::<N>(lines, slots) }
    }

    #[inline(always)]
    unsafe fn preorder(steps: &[Step], slots: *const u8) -> Exits {
        // SAFETY: as the caller promises.
        unsafe { tops::preorder::<N>(steps, slots) }
    }
}
