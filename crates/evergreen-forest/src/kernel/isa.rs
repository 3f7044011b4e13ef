//! Operations that depend on the instruction set (ISA): [`portable`] and [`avx2`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
pub(crate) mod portable;

use crate::ensemble::ThresholdRule;
use crate::kernel::KernelFloat;

/// Compares numbers with thresholds.
pub(crate) trait Isa {
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
