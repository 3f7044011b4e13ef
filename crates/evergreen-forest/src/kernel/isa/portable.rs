//! Operations in plain Rust, for every CPU.

use crate::ensemble::{Ensemble, ThresholdRule};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::{BitSlicedKernel, BufferLine};
use crate::kernel::isa::Isa;
use crate::kernel::threshold_search;

/// Adds the leaves that each row reaches to its sums, with the bit-sliced kernel.
pub(in crate::kernel) fn slice<T: KernelFloat>(
    bit_sliced: &BitSlicedKernel<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<BufferLine>,
    large: bool,
) {
    // SAFETY: plain Rust runs everywhere, and every x86-64 CPU has vectors of 128 bits.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if large {
            return bit_sliced.add_leaves::<std::arch::x86_64::__m128i, Portable>(ensemble, rows, sums, work);
        }
        bit_sliced.add_leaves::<u64, Portable>(ensemble, rows, sums, work);
    }
}

/// Plain Rust.
pub(crate) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    unsafe fn count_passed<T: KernelFloat, const N: usize>(
        comparison: ThresholdRule,
        block: &[T; N],
        x: T,
    ) -> u32 {
        threshold_search::count(comparison, block, x)
    }

    const SCAN_LIMIT: usize = 0;

    #[inline(always)]
    unsafe fn passed_mask<T: KernelFloat>(comparison: ThresholdRule, numbers: *const T, threshold: T) -> u32 {
        // SAFETY: the caller guarantees 32 numbers.
        let numbers = unsafe { &*numbers.cast::<[T; 32]>() };
        let count_passed = |x: &T| match comparison {
            ThresholdRule::Less => threshold <= *x,
            ThresholdRule::LessEqual => threshold < *x,
        };
        let bits = numbers.iter().zip(0..);
        bits.fold(0, |bits, (x, at)| bits | u32::from(count_passed(x)) << at)
    }

    #[inline(always)]
    unsafe fn missing_mask<T: KernelFloat>(numbers: *const T) -> u32 {
        // SAFETY: the caller guarantees 32 numbers.
        let numbers = unsafe { &*numbers.cast::<[T; 32]>() };
        let bits = numbers.iter().zip(0..);
        bits.fold(0, |bits, (x, at)| bits | u32::from(x.missing()) << at)
    }

    #[inline(always)]
    fn number_of_bit<T: KernelFloat>(bit: usize) -> usize {
        bit
    }
}
