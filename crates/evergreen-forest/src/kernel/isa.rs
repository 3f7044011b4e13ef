//! The steps that are done differently from machine to machine.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
pub(super) mod portable;

use crate::ensemble::ThresholdRule;
use crate::kernel::KernelFloat;
#[cfg(target_arch = "x86_64")]
use crate::kernel::binned::leaf_sum::ExitIndices;
#[cfg(target_arch = "x86_64")]
use crate::kernel::binned::tree_block::{PredicateLine, PreorderStep};

/// Comparing numbers with thresholds.
pub(in crate::kernel) trait Isa {
    /// How many of a block's thresholds a number has count_passed.
    ///
    /// # Safety
    /// This is such a machine; a block is [`BLOCK`](crate::kernel::threshold_search::BLOCK) or [`HALF`](crate::kernel::threshold_search::HALF).
    unsafe fn count_passed<T: KernelFloat, const N: usize>(
        comparison: ThresholdRule,
        block: &[T; N],
        x: T,
    ) -> u32;

    /// Up to so many thresholds of four bytes are compared with all numbers; more are searched for each.
    const SCAN_LIMIT: usize;

    /// Which of 32 numbers have count_passed a threshold; bit `i` is for the number at `Self::number_of_bit::<T>(i)`.
    ///
    /// # Safety
    /// This is such a machine; there are 32 numbers.
    unsafe fn passed_mask<T: KernelFloat>(comparison: ThresholdRule, numbers: *const T, threshold: T) -> u32;

    /// Which of 32 numbers are missing_mask, in the oblivious order.
    ///
    /// # Safety
    /// This is such a machine; there are 32 numbers.
    unsafe fn missing_mask<T: KernelFloat>(numbers: *const T) -> u32;

    /// Where the number of a bit is.
    fn number_of_bit<T: KernelFloat>(bit: usize) -> usize;
}

/// Deciding for a stand of trees at once.
#[cfg(target_arch = "x86_64")]
pub(in crate::kernel) trait UpperLevelsIsa: Isa {
    /// The exits of a complete: below `2^levels` for every lane.
    ///
    /// # Safety
    /// This is such a machine; `lines` are those of all `levels`, at most six; there are 256 bins.
    unsafe fn complete(lines: *const PredicateLine, levels: usize, bins: *const u8) -> ExitIndices;

    /// The exits of a complete of which each level has one line: below 2^(number of lines), of which there are at most six.
    ///
    /// # Safety
    /// This is such a machine; there are 256 bins.
    unsafe fn oblivious(lines: &[PredicateLine], bins: *const u8) -> ExitIndices;

    /// The exits of trees whose splits come one after the other: below 256 for every lane.
    ///
    /// # Safety
    /// This is such a machine; there are 256 bins.
    unsafe fn preorder(steps: &[PreorderStep], bins: *const u8) -> ExitIndices;
}
