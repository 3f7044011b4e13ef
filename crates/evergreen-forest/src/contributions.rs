//! Contributions of each feature to a margin: exact path-dependent SHAP values.
//!
//! A feature outside the coalition sends a row to both sides of its splits, in proportion to the training weight, as in
//! the libraries' `pred_contribs` (Lundberg, Erion, Lee, arXiv 1802.03888). Contributions and bias add up to the margin.
//!
//! ```text
//! lane_kernel        eight rows per vector; takes every tree
//!   lane_walk        the recurrence, split by split
//!   tree_program     the order of the walk, with the constants of each split
//!   lanes            vectors: portable, avx2
//! row_bins           splits as tests on the bins of a row
//! cover_share        shares of the training weight, means of trees
//! quadrature         Gauss nodes
//! ```
//! An [`Explainer`] is built when a model first explains a row. Until then it costs neither time nor memory.

mod cover_share;
mod lane_kernel;
mod lane_walk;
mod lanes;
mod quadrature;
#[cfg(test)]
mod reference;
mod row_bins;
#[cfg(test)]
mod tests;
mod tree_program;
#[cfg(test)]
mod tree_shap;

use crate::ensemble::{ChildTarget, Ensemble};
use crate::kernel::KernelFloat;
use cover_share::CoverShares;
use lane_kernel::{LaneBuffers, LaneKernel, TreeTerm};
use lanes::{BinLine, LANES};
use row_bins::RowBins;
use tree_program::{ProgramSource, TreePrograms};

/// Most rows of a block.
const BLOCK: usize = 64;

/// Bytes of bins and sums of a block that stay in the cache next to the trees.
const BLOCK_BYTES: usize = 1 << 16;

/// Explains rows of one model.
#[derive(Debug)]
pub(crate) struct Explainer<T> {
    bins: RowBins<T>,
    lanes: LaneKernel,
    /// The mean of each group's sum of leaves over the training rows.
    means: Vec<f64>,
}

/// Working memory, grown on first use.
#[derive(Debug, Default)]
pub(crate) struct ExplainScratch {
    lanes: LaneBuffers,
}

impl<T: KernelFloat> Explainer<T> {
    /// Builds the layouts of the kernels.
    pub(crate) fn new(ensemble: &Ensemble<T>) -> Self {
        let (bins, tests) = RowBins::new(ensemble);
        let shares = CoverShares::new(ensemble);
        let source = ProgramSource {
            ensemble,
            shares: &shares,
            tests: &tests,
        };
        let mut means = vec![0.0; ensemble.groups];
        let mut programs = TreePrograms::default();
        let mut terms = Vec::new();
        for (position, tree) in ensemble.trees.iter().enumerate() {
            let outputs = 0..ensemble.leaf_width;
            let of_tree: Vec<f64> = outputs
                .map(|output| shares.mean(ensemble, position, output))
                .collect();
            let first = if of_tree.len() == 1 {
                tree.group as usize
            } else {
                0
            };
            for (mean, of_tree) in means[first..].iter_mut().zip(&of_tree) {
                *mean += of_tree;
            }
            if let ChildTarget::Split(_) = tree.root.target() {
                let program = programs.push(&source, tree, &of_tree);
                terms.extend((0..of_tree.len()).map(|output| TreeTerm {
                    tree: program,
                    output,
                    group: first + output,
                }));
            }
        }
        programs.shrink();
        Self {
            lanes: LaneKernel::new(programs, terms, bins.columns(), ensemble.leaf_width),
            bins,
            means,
        }
    }

    /// Returns the bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bins.bytes() + self.lanes.bytes() + size_of_val(self.means.as_slice())
    }

    /// Writes the contributions of prepared rows: for each row and group `features` numbers and the bias.
    pub(crate) fn contributions(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        out: &mut [f64],
        scratch: &mut ExplainScratch,
    ) {
        let features = ensemble.features;
        let width = ensemble.groups * (features + 1);
        let block = self.block();
        out.fill(0.0);
        for (rows, out) in rows.chunks(block * features).zip(out.chunks_mut(block * width)) {
            self.add_block(ensemble, rows, out, &mut scratch.lanes);
            for out in out.chunks_exact_mut(width) {
                self.finish(ensemble, out);
            }
        }
    }

    /// Returns the rows of a block: a multiple of the lanes.
    fn block(&self) -> usize {
        let bytes = self.bins.columns() * 2 * size_of::<BinLine>();
        (BLOCK_BYTES / bytes.max(1) * LANES).clamp(LANES, BLOCK)
    }

    /// Adds the contributions of the rows of a block.
    fn add_block(&self, ensemble: &Ensemble<T>, rows: &[T], out: &mut [f64], buffers: &mut LaneBuffers) {
        let (features, columns) = (ensemble.features, self.bins.columns());
        if columns == 0 {
            return;
        }
        let rows = rows.chunks_exact(features);
        let (count, width) = (rows.len(), features + 1);
        buffers.bins.clear();
        buffers
            .bins
            .resize(count.div_ceil(LANES) * columns, BinLine::default());
        for (row, x) in rows.enumerate() {
            let bins = &mut buffers.bins[row / LANES * columns..][..columns];
            self.bins
                .fill(ensemble, x, bins.iter_mut().map(|line| &mut line.0[row % LANES]));
        }
        self.lanes.add(columns, buffers, |row, group, column, sum| {
            if row < count {
                let of_group = (row * ensemble.groups + group) * width;
                out[of_group + self.bins.feature(column)] += f64::from(sum);
            }
        });
    }

    /// Adds the bias to a row's contributions, and scales them as the margin.
    fn finish(&self, ensemble: &Ensemble<T>, out: &mut [f64]) {
        let width = ensemble.features + 1;
        for (group, out) in out.chunks_exact_mut(width).enumerate() {
            if let (Some(bias), Some(base)) = (out.last_mut(), ensemble.base.get(group)) {
                *bias += base.to_f64() + self.means[group];
            }
            ensemble.finish_contributions(group, out);
        }
    }
}
