//! The binned kernel: quantises a row into bins of one byte, then evaluates 32 trees per vector instruction.
//!
//! ```text
//! column_order   assigns binned features to columns
//! quantizer      a row's numbers -> its bins
//! tree_block     the layout: blocks of 32 trees with upper levels and subtrees
//! leaf_sum       from exit indices to leaves and sums
//! ```
//! The upper levels are evaluated by [`isa::avx2`](crate::kernel::isa::avx2).

mod column_order;
pub(in crate::kernel) mod leaf_sum;
pub(in crate::kernel) mod quantizer;
pub(in crate::kernel) mod tree_block;
pub(in crate::kernel) mod upper_levels_isa;

use crate::ensemble::Ensemble;
use crate::kernel::KernelFloat;
use crate::kernel::binned::column_order::ColumnOrder;
use crate::kernel::binned::leaf_sum::{ExitIndices, RowGroup};
use crate::kernel::binned::quantizer::Quantizer;
use crate::kernel::binned::tree_block::{LANES, TreeBlock, TreeBlocks, UpperLevels};
use crate::kernel::binned::upper_levels_isa::UpperLevelsIsa;
use crate::kernel::predicate::BinnedFeatures;

/// Rows whose sums are computed side by side.
const TOGETHER: usize = 4;

/// Bytes of bins to fill before the trees are evaluated. They must stay in the L1 cache.
const FILLED: usize = 1 << 14;

/// Number of upper levels. A seventh would double the memory that a block reads.
const LEVELS: usize = 6;

/// A model in the layout of the binned kernel.
#[derive(Debug)]
pub(crate) struct BinnedKernel<T> {
    pub(in crate::kernel) quantizer: Quantizer<T>,
    pub(in crate::kernel) blocks: TreeBlocks<T>,
    /// Columns used by the upper levels.
    pub(in crate::kernel) upper_columns: usize,
    /// Distance in bytes from one row's bins to the next row's.
    stride: usize,
}

impl<T: KernelFloat> BinnedKernel<T> {
    /// Builds the layout. Returns `None` if the model has vector or linear leaves or too many columns.
    pub(in crate::kernel) fn new(ensemble: &Ensemble<T>) -> Option<Self> {
        let binned_features = BinnedFeatures::of(ensemble)?;
        let columns = ColumnOrder::new(ensemble, &binned_features, LEVELS)?;
        let quantizer = Quantizer::new(ensemble, &binned_features, &columns.column_of)?;
        let blocks = TreeBlocks::new(ensemble, &columns)?;
        let preorder = |block: &TreeBlock| matches!(block.upper_levels, UpperLevels::Preorder { .. });
        Some(Self {
            stride: quantizer.len().next_multiple_of(64).max(256),
            quantizer,
            upper_columns: if blocks.blocks.iter().any(preorder) {
                columns.used
            } else {
                columns.upper_columns
            },
            blocks,
        })
    }

    /// Returns the bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.quantizer.bytes() + self.blocks.bytes()
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// # Safety
    /// The CPU supports the instruction set `M`.
    #[inline(always)]
    pub(in crate::kernel) unsafe fn add_leaves<M: UpperLevelsIsa>(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        bins: &mut Vec<u8>,
    ) {
        let (features, groups) = (ensemble.features, ensemble.groups);
        let at_once = (FILLED / self.stride).max(TOGETHER);
        let needed = self.stride * at_once.min(rows.len() / features);
        if bins.len() < needed {
            bins.resize(needed, 0);
        }
        if rows.len() == features {
            // SAFETY: `fill` writes the row's bins before they are read.
            return unsafe {
                M::fill_row(&self.quantizer, rows, bins);
                self.walk_alone::<M>(bins.as_ptr(), sums);
            };
        }
        let rows = rows.chunks(at_once * features);
        for (rows, sums) in rows.zip(sums.chunks_mut(at_once * groups)) {
            // SAFETY: the caller guarantees the ISA.
            unsafe { M::fill(&self.quantizer, (rows, features), (bins, self.stride)) };
            let count = rows.len() / features;
            // SAFETY: the bins of these rows have just been filled.
            unsafe { self.walk::<M>(&bins[..count * self.stride], sums, groups) };
        }
    }

    #[inline(always)]
    unsafe fn walk<M: UpperLevelsIsa>(&self, bins: &[u8], sums: &mut [T], groups: usize) {
        let together = bins.chunks_exact(TOGETHER * self.stride);
        let rest = together.remainder().chunks_exact(self.stride);
        let (of_rows, of_rest) = sums.split_at_mut(together.len() * TOGETHER * groups);
        // SAFETY: guaranteed by the caller.
        unsafe {
            if !of_rows.is_empty() {
                self.walk_together::<M>(bins, of_rows, groups);
            }
            for (bins, sums) in rest.zip(of_rest.chunks_exact_mut(groups)) {
                self.walk_alone::<M>(bins.as_ptr(), sums);
            }
        }
    }

    #[inline(always)]
    unsafe fn exits<M: UpperLevelsIsa>(&self, block: &TreeBlock, bins: *const u8) -> ExitIndices {
        // SAFETY: lines and steps belong to the block; the caller guarantees the bins.
        unsafe {
            match block.upper_levels {
                UpperLevels::Complete { first } => {
                    M::complete(self.blocks.lines[first..].as_ptr(), block.levels, bins)
                }
                UpperLevels::Oblivious { first } => {
                    M::oblivious(&self.blocks.lines[first..first + block.levels], bins)
                }
                UpperLevels::Preorder { first, steps } => {
                    M::preorder(&self.blocks.steps[first..first + steps], bins)
                }
            }
        }
    }

    /// Evaluates groups of rows, one block of trees after the other.
    #[inline(always)]
    unsafe fn walk_together<M: UpperLevelsIsa>(&self, bins: &[u8], sums: &mut [T], groups: usize) {
        let mut first = 0;
        for block in &self.blocks.blocks {
            let together = bins.chunks_exact(TOGETHER * self.stride);
            for (bins, sums) in together.zip(sums.chunks_exact_mut(TOGETHER * groups)) {
                let bins: [*const u8; TOGETHER] =
                    std::array::from_fn(|row| bins[row * self.stride..].as_ptr());
                let mut exits = [[0; LANES]; TOGETHER];
                for (exits, bins) in exits.iter_mut().zip(bins) {
                    // SAFETY: a row has at least 256 bins.
                    *exits = unsafe { self.exits::<M>(block, bins) };
                }
                let mut rows = RowGroup {
                    bins,
                    exits: &exits,
                    sums,
                    groups,
                };
                // SAFETY: the block is one of `self.blocks`, and the rows' bins are filled.
                unsafe { leaf_sum::add(&self.blocks, block, first, &mut rows) };
            }
            first += block.trees;
        }
    }

    /// Evaluates one row.
    #[inline(always)]
    unsafe fn walk_alone<M: UpperLevelsIsa>(&self, bins: *const u8, sums: &mut [T]) {
        let mut first = 0;
        let groups = sums.len();
        for block in &self.blocks.blocks {
            // SAFETY: the row's bins are filled, at least 256 of them.
            unsafe {
                let exits = [self.exits::<M>(block, bins)];
                let mut rows = RowGroup {
                    bins: [bins],
                    exits: &exits,
                    sums,
                    groups,
                };
                leaf_sum::add(&self.blocks, block, first, &mut rows);
            }
            first += block.trees;
        }
    }
}
