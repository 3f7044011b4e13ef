//! What the binned kernel needs from an instruction set.

use super::leaf_sum::ExitIndices;
use super::quantizer::Quantizer;
use super::tree_block::{PredicateLine, PreorderStep};
use crate::kernel::KernelFloat;

/// Computes the bins of a row, and the exit indices of a block of trees.
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
