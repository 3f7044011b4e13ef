//! The AVX2 instruction set: one instruction evaluates a predicate of 32 trees.

mod count_passed;
mod upper_levels;

use std::arch::x86_64::__m256i;

use crate::ensemble::{Ensemble, ThresholdRule};
use crate::kernel::KernelFloat;
use crate::kernel::binned::BinnedKernel;
use crate::kernel::binned::leaf_sum::ExitIndices;
use crate::kernel::binned::quantizer::Quantizer;
use crate::kernel::binned::tree_block::{PredicateLine, PreorderStep};
use crate::kernel::binned::upper_levels_isa::UpperLevelsIsa;
use crate::kernel::bit_sliced::{BitSlicedKernel, BufferLine};
use crate::kernel::isa::Isa;
pub(crate) use count_passed::CountPassed;

/// Returns whether this CPU has AVX2, BMI1, BMI2 and POPCNT.
pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
}

/// Adds the leaves that each row reaches to its sums, with the binned kernel.
///
/// # Safety
/// The instruction set is [`available`].
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(in crate::kernel) unsafe fn add_leaves<T: KernelFloat>(
    binned: &BinnedKernel<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    bins: &mut Vec<u8>,
) {
    // SAFETY: the caller guarantees the ISA.
    unsafe {
        match binned.upper_columns.div_ceil(16) {
            0..=2 => binned.add_leaves::<UpperLevels<2>>(ensemble, rows, sums, bins),
            3..=4 => binned.add_leaves::<UpperLevels<4>>(ensemble, rows, sums, bins),
            5..=8 => binned.add_leaves::<UpperLevels<8>>(ensemble, rows, sums, bins),
            _ => binned.add_leaves::<UpperLevels<16>>(ensemble, rows, sums, bins),
        }
    }
}

/// Adds the leaves that each row reaches to its sums, with the bit-sliced kernel.
///
/// # Safety
/// The instruction set is [`available`].
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(in crate::kernel) unsafe fn slice<T: KernelFloat>(
    bit_sliced: &BitSlicedKernel<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<BufferLine>,
    many: bool,
) {
    // SAFETY: the caller guarantees the ISA.
    unsafe {
        match (many, ensemble.comparison) {
            (true, ThresholdRule::Less) => {
                bit_sliced.add_leaves::<__m256i, Avx2<false>>(ensemble, rows, sums, work)
            }
            (true, ThresholdRule::LessEqual) => {
                bit_sliced.add_leaves::<__m256i, Avx2<true>>(ensemble, rows, sums, work)
            }
            (false, ThresholdRule::Less) => {
                bit_sliced.add_leaves::<u64, Avx2<false>>(ensemble, rows, sums, work)
            }
            (false, ThresholdRule::LessEqual) => {
                bit_sliced.add_leaves::<u64, Avx2<true>>(ensemble, rows, sums, work)
            }
        }
    }
}

/// AVX2, for models of one rule to compare with thresholds.
pub(crate) struct Avx2<const STRICTLY: bool>;

impl<const STRICTLY: bool> Isa for Avx2<STRICTLY> {
    #[inline(always)]
    unsafe fn count_passed<T: KernelFloat, const B: usize>(_: ThresholdRule, block: &[T; B], x: T) -> u32 {
        // SAFETY: the caller guarantees the ISA.
        unsafe { T::count_passed(block, x, STRICTLY) }
    }

    // Measured: beyond this a search is faster.
    const SCAN_LIMIT: usize = 80;

    #[inline(always)]
    unsafe fn passed_mask<T: KernelFloat>(_: ThresholdRule, numbers: *const T, threshold: T) -> u32 {
        // SAFETY: the caller guarantees the ISA and the numbers.
        unsafe { T::passed_mask(numbers, threshold, STRICTLY) }
    }

    #[inline(always)]
    unsafe fn missing_mask<T: KernelFloat>(numbers: *const T) -> u32 {
        // SAFETY: the caller guarantees the ISA and the numbers.
        unsafe { <T as CountPassed>::missing_mask(numbers) }
    }

    #[inline(always)]
    fn number_of_bit<T: KernelFloat>(bit: usize) -> usize {
        T::number_of_bit(bit)
    }
}

/// AVX2, for models whose upper levels use up to `16 · N` columns.
struct UpperLevels<const N: usize>;

impl<const N: usize> UpperLevelsIsa for UpperLevels<N> {
    // The rule is a branch here and not a parameter of the type, which would double the code of the kernel.
    #[inline(always)]
    unsafe fn fill_row<T: KernelFloat>(quantizer: &Quantizer<T>, row: &[T], bins: &mut [u8]) {
        // SAFETY: the caller guarantees the ISA.
        unsafe {
            match quantizer.comparison() {
                ThresholdRule::Less => quantizer.fill::<Avx2<false>>(row, bins),
                ThresholdRule::LessEqual => quantizer.fill::<Avx2<true>>(row, bins),
            }
        }
    }

    // One branch for all rows.
    #[inline(always)]
    unsafe fn fill<T: KernelFloat>(
        quantizer: &Quantizer<T>,
        (rows, features): (&[T], usize),
        (bins, stride): (&mut [u8], usize),
    ) {
        let rows = rows.chunks_exact(features).zip(bins.chunks_exact_mut(stride));
        // SAFETY: the caller guarantees the ISA.
        unsafe {
            match quantizer.comparison() {
                ThresholdRule::Less => {
                    for (row, bins) in rows {
                        quantizer.fill::<Avx2<false>>(row, bins);
                    }
                }
                ThresholdRule::LessEqual => {
                    for (row, bins) in rows {
                        quantizer.fill::<Avx2<true>>(row, bins);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn complete(lines: *const PredicateLine, levels: usize, bins: *const u8) -> ExitIndices {
        // SAFETY: guaranteed by the caller.
        unsafe { upper_levels::complete::<N>(lines, levels, bins) }
    }

    #[inline(always)]
    unsafe fn oblivious(lines: &[PredicateLine], bins: *const u8) -> ExitIndices {
        // SAFETY: guaranteed by the caller.
        unsafe { upper_levels::oblivious::<N>(lines, bins) }
    }

    #[inline(always)]
    unsafe fn preorder(steps: &[PreorderStep], bins: *const u8) -> ExitIndices {
        // SAFETY: guaranteed by the caller.
        unsafe { upper_levels::preorder::<N>(steps, bins) }
    }
}
