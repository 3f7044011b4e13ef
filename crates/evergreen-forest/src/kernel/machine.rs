//! The steps that are done differently from machine to machine.

use super::super::ensemble::Comparison;
use super::super::number::Real;
#[cfg(target_arch = "x86_64")]
use super::stand::{Line, Step};
#[cfg(target_arch = "x86_64")]
use super::tail::Exits;

/// Comparing numbers with thresholds.
pub(super) trait Machine {
    /// How many of a block's thresholds a number has passed.
    ///
    /// # Safety
    /// This is such a machine; a block is [`BLOCK`](super::search::BLOCK) or [`HALF`](super::search::HALF).
    unsafe fn passed<T: Real, const N: usize>(comparison: Comparison, block: &[T; N], x: T) -> u32;

    /// Up to so many thresholds of four bytes are compared with all numbers; more are searched for each.
    const SCANNED: usize;

    /// Which of 32 numbers have passed a threshold; bit `i` is for the number at `Self::place::<T>(i)`.
    ///
    /// # Safety
    /// This is such a machine; there are 32 numbers.
    unsafe fn passing<T: Real>(comparison: Comparison, numbers: *const T, threshold: T) -> u32;

    /// Which of 32 numbers are missing, in the same order.
    ///
    /// # Safety
    /// This is such a machine; there are 32 numbers.
    unsafe fn missing<T: Real>(numbers: *const T) -> u32;

    /// Where the number of a bit is.
    fn place<T: Real>(bit: usize) -> usize;
}

/// Deciding for a stand of trees at once.
#[cfg(target_arch = "x86_64")]
pub(super) trait Tops: Machine {
    /// The exits of a top: below `2^levels` for every lane.
    ///
    /// # Safety
    /// This is such a machine; `lines` are those of all `levels`, at most six; there are 256 slots.
    unsafe fn top(lines: *const Line, levels: usize, slots: *const u8) -> Exits;

    /// The exits of a top of which each level has one line: below 2^(number of lines), of which there are at most six.
    ///
    /// # Safety
    /// This is such a machine; there are 256 slots.
    unsafe fn same(lines: &[Line], slots: *const u8) -> Exits;

    /// The exits of trees whose splits come one after the other: below 256 for every lane.
    ///
    /// # Safety
    /// This is such a machine; there are 256 slots.
    unsafe fn preorder(steps: &[Step], slots: *const u8) -> Exits;
}
