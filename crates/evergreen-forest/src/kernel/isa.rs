//! Operations that depend on the instruction set (ISA): [`portable`] and [`avx2`].

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
pub(super) mod portable;

use crate::ensemble::ThresholdRule;
use crate::kernel::KernelFloat;
#[cfg(target_arch = "x86_64")]
use crate::kernel::binned::leaf_sum::ExitIndices;
#[cfg(target_arch = "x86_64")]
use crate::kernel::binned::quantizer::Quantizer;
#[cfg(target_arch = "x86_64")]
use crate::kernel::binned::tree_block::{PredicateLine, PreorderStep};

/// Compares numbers with thresholds.
pub(in crate::kernel) trait Isa {
    /// Counts the thresholds of a block that `x` has passed.
    ///
    /// # Safety
    /// The CPU supports this ISA. `N` is [`BLOCK`](crate::kernel::threshold_search::BLOCK) or
    /// [`HALF`](crate::kernel::threshold_search::HALF).
    unsafe fn count_passed<T: KernelFloat, const N: usize>(
        comparison: ThresholdRule,
        block: &[T; N],
        x: T,
    ) -> u32;

    /// Features with up to this many thresholds (of four bytes) are compared with all numbers; others are
    /// searched.
    const SCAN_LIMIT: usize;

    /// Returns which of 32 numbers have passed a threshold. Bit `i` belongs to number
    /// `Self::number_of_bit::<T>(i)`.
    ///
    /// # Safety
    /// The CPU supports this ISA; `numbers` points at 32 numbers.
    unsafe fn passed_mask<T: KernelFloat>(comparison: ThresholdRule, numbers: *const T, threshold: T) -> u32;

    /// Returns which of 32 numbers are missing, in the same bit order.
    ///
    /// # Safety
    /// The CPU supports this ISA; `numbers` points at 32 numbers.
    unsafe fn missing_mask<T: KernelFloat>(numbers: *const T) -> u32;

    /// Returns the number that a bit of a mask belongs to.
    fn number_of_bit<T: KernelFloat>(bit: usize) -> usize;
}

/// Computes the bins of a row, and the exit indices of a block of trees.
#[cfg(target_arch = "x86_64")]
pub(in crate::kernel) trait UpperLevelsIsa {
    /// Fills in the bins of one row.
    ///
    /// # Safety
    /// The CPU supports this ISA.
    unsafe fn fill_row<T: KernelFloat>(quantizer: &Quantizer<T>, row: &[T], bins: &mut [u8]);

    /// Fills in the bins of `rows`, given with the number of features; `bins` with the number of bins for each row.
    ///
    /// # Safety
    /// The CPU supports this ISA.
    unsafe fn fill<T: KernelFloat>(quantizer: &Quantizer<T>, rows: (&[T], usize), bins: (&mut [u8], usize));

    /// Evaluates complete upper levels. The exit index of every lane is below `2^levels`.
    ///
    /// # Safety
    /// The CPU supports this ISA; `lines` points at the lines of all `levels`, at most six; `bins` at 256
    /// bins.
    unsafe fn complete(lines: *const PredicateLine, levels: usize, bins: *const u8) -> ExitIndices;

    /// Evaluates oblivious upper levels, one line per level, at most six. Exit indices are below 2^(number of
    /// lines).
    ///
    /// # Safety
    /// The CPU supports this ISA; `bins` points at 256 bins.
    unsafe fn oblivious(lines: &[PredicateLine], bins: *const u8) -> ExitIndices;

    /// Evaluates trees step by step in preorder. Exit indices are below 256.
    ///
    /// # Safety
    /// The CPU supports this ISA; `bins` points at 256 bins.
    unsafe fn preorder(steps: &[PreorderStep], bins: *const u8) -> ExitIndices;
}
