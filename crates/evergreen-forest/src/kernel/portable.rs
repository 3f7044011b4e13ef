//! What any machine can do.

use super::super::ensemble::{Comparison, Ensemble};
use super::super::number::Real;
use super::machine::Machine;
use super::search;
use super::sliced::{Aligned, Sliced};

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
    unsafe fn passed<T: Real, const N: usize>(comparison: Comparison, block: &[T; N], x: T) -> u32 {
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
}
