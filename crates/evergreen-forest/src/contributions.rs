//! Contributions of each feature to a margin: exact path-dependent SHAP values.
//!
//! A feature outside the coalition sends a row to both sides of its splits, in proportion to the training weight, as in
//! the libraries' `pred_contribs` (Lundberg, Erion, Lee, arXiv 1802.03888). Contributions and bias add up to the margin.
//!
//! ```text
//! lane_kernel        eight rows per vector; takes every tree
//!   lane_walk        the recurrence, split by split
//!   tree_program     the order of the walk, with the constants of each split
//!   lanes            vectors: portable, avx2; and for the nodes of one row
//! level_kernel       one row, eight splits per vector (AVX2); takes trees of at most 32 levels with one number per leaf
//!   level_layout     trees in level order
//! pattern_table      one look-up per tree; takes symmetric trees of at most 8 levels
//! pair_sums          interaction values, by the walk of the lane kernel
//! row_bins           splits as tests on the bins of a row
//! cover_share        shares of the training weight, means of trees
//! quadrature         Gauss nodes
//! ```
//! An [`Explainer`] is built when a model first explains a row. Until then it costs neither time nor memory.

mod cover_share;
mod lane_kernel;
mod lane_walk;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod level_kernel;
#[cfg(target_arch = "x86_64")]
mod level_layout;
mod pair_sums;
mod pattern_table;
mod quadrature;
#[cfg(test)]
mod reference;
mod row_bins;
#[cfg(test)]
mod tests;
mod tree_program;
#[cfg(test)]
mod tree_shap;
mod tree_source;

use crate::ensemble::{ChildTarget, Ensemble};
use crate::kernel::KernelFloat;
pub(crate) use cover_share::{CoverShares, leaf_value};
use lane_kernel::{LaneBuffers, LaneKernel, TreeTerm};
use lanes::{BinLine, LANES, LaneSet};
#[cfg(target_arch = "x86_64")]
use level_kernel::LevelBuffers;
#[cfg(target_arch = "x86_64")]
use level_layout::{LevelLayout, LevelTree};
use pattern_table::PatternTables;
use row_bins::RowBins;
use tree_program::TreePrograms;
use tree_source::TreeSource;

/// Most rows of a block.
const BLOCK: usize = 64;

/// Rows from which a vector of rows takes less time than the rows one by one.
const ROWS_OF_A_VECTOR: usize = 4;

/// Bytes of bins and sums of a block that stay in the cache next to the trees.
const BLOCK_BYTES: usize = 1 << 16;

/// Explains rows of one model.
#[derive(Debug)]
pub(crate) struct Explainer<T> {
    bins: RowBins<T>,
    /// The number of each column's feature among the features in use, and these.
    places: (Vec<u32>, Vec<usize>),
    /// The symmetric trees.
    tables: PatternTables,
    /// All other trees.
    lanes: LaneKernel,
    /// Those that the level kernel takes, once more; `None` where it cannot run.
    #[cfg(target_arch = "x86_64")]
    levels: Option<LevelLayout>,
    /// The mean of each group's sum of leaves over the training rows.
    means: Vec<f64>,
    /// What the kernels' sums are multiplied by.
    scale: f64,
}

/// Working memory, grown on first use.
#[derive(Debug, Default)]
pub(crate) struct ExplainScratch {
    bins: Vec<i32>,
    lanes: LaneBuffers,
    #[cfg(target_arch = "x86_64")]
    levels: LevelBuffers,
}

/// Which kernels are used.
#[derive(Clone, Copy, Debug)]
struct KernelChoice {
    /// Pattern tables for the trees that have them.
    tables: bool,
    /// The level kernel for single rows.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    levels: bool,
    /// The instruction set of the lane kernel.
    isa: LaneSet,
}

impl<T: KernelFloat> Explainer<T> {
    /// Builds the layouts of the kernels, each for the trees that it is the fastest for.
    pub(crate) fn new(ensemble: &Ensemble<T>) -> Self {
        let choice = KernelChoice {
            tables: true,
            levels: true,
            isa: LaneSet::best(),
        };
        Self::of(ensemble, choice)
    }

    /// Builds only what interactions need: the lane kernel.
    pub(crate) fn of_interactions(ensemble: &Ensemble<T>) -> Self {
        let choice = KernelChoice {
            tables: false,
            levels: false,
            isa: LaneSet::best(),
        };
        Self::of(ensemble, choice)
    }

    /// Returns whether it can compute interactions: all trees are in the layout of the lane kernel.
    pub(crate) fn has_interactions(&self) -> bool {
        self.tables.is_empty()
    }

    fn of(ensemble: &Ensemble<T>, choice: KernelChoice) -> Self {
        let (bins, tests) = RowBins::new(ensemble);
        let shares = CoverShares::new(ensemble);
        let source = TreeSource {
            ensemble,
            shares: &shares,
            tests: &tests,
            scale: tree_source::scale(ensemble),
        };
        let mut means = vec![0.0; ensemble.groups];
        let mut tables = PatternTables::default();
        let mut level_tests = tests.clone();
        let mut programs = TreePrograms::default();
        let mut terms = Vec::new();
        #[cfg(target_arch = "x86_64")]
        let mut by_level = Vec::new();
        #[cfg(target_arch = "x86_64")]
        let levels_fit = choice.levels && level_kernel::fits(ensemble.leaf_width, bins.columns());
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
            let ChildTarget::Split(_) = tree.root.target() else {
                continue;
            };
            if choice.tables && tables.push(&source, position, first, &of_tree, &mut level_tests) {
                continue;
            }
            let program = programs.push(&source, tree, &of_tree);
            #[cfg(target_arch = "x86_64")]
            let fits = levels_fit
                && programs.depth(program) <= level_layout::MAX_LEVELS
                && programs.splits(program) <= level_layout::MAX_SPLITS;
            #[cfg(not(target_arch = "x86_64"))]
            let fits = false;
            #[cfg(target_arch = "x86_64")]
            if fits {
                by_level.push(LevelTree {
                    root: tree.root,
                    group: first,
                    mean: of_tree[0],
                    splits: programs.splits(program),
                    order: programs.order(program),
                });
            }
            terms.extend((0..of_tree.len()).map(|output| TreeTerm {
                tree: program,
                output,
                group: first + output,
                only: !fits,
            }));
        }
        programs.shrink();
        tables.finish();
        Self {
            tables,
            #[cfg(target_arch = "x86_64")]
            levels: levels_fit.then(|| LevelLayout::new(&source, by_level)),
            lanes: LaneKernel::new(programs, terms, (bins.columns(), ensemble.leaf_width), choice.isa),
            scale: source.scale,
            places: bins.places(),
            bins,
            means,
        }
    }

    /// Returns the bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        let levels = self.levels.as_ref().map_or(0, LevelLayout::bytes);
        #[cfg(not(target_arch = "x86_64"))]
        let levels = 0;
        let kernels = self.tables.bytes() + self.lanes.bytes() + levels;
        let places = size_of_val(self.places.0.as_slice()) + size_of_val(self.places.1.as_slice());
        self.bins.bytes() + places + kernels + size_of_val(self.means.as_slice())
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
            self.add_rows(ensemble, rows, out, scratch);
            for out in out.chunks_exact_mut(width) {
                self.finish(ensemble, out, features + 1);
            }
        }
    }

    /// Writes the interactions of prepared rows: for each row and group a matrix of `features + 1` rows and columns, with
    /// the bias in the last place. Requires [`Self::has_interactions`].
    pub(crate) fn interactions(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        out: &mut [f64],
        scratch: &mut ExplainScratch,
    ) {
        let features = ensemble.features;
        let side = features + 1;
        let matrix = side * side;
        let width = ensemble.groups * matrix;
        let (places, used) = &self.places;
        out.fill(0.0);
        let block = self.lanes.rows_of_interactions(rows.len() / features);
        for (rows, out) in rows.chunks(block * features).zip(out.chunks_mut(block * width)) {
            if !self.lanes.is_empty() {
                let count = rows.len() / features;
                self.fill_lanes(ensemble, rows, &mut scratch.lanes.bins);
                let lanes = &mut scratch.lanes;
                self.lanes
                    .add_interactions(count, (places, used.len()), lanes, |row, group, i, j, sum| {
                        if sum != 0.0 {
                            let out = &mut out[row * width + group * matrix..][..matrix];
                            add_pair(out, side, (used[i], used[j]), f64::from(sum) * self.scale);
                        }
                    });
            }
            for out in out.chunks_exact_mut(width) {
                for matrix in out.chunks_exact_mut(matrix) {
                    take_halves(matrix, side, used);
                }
                self.finish(ensemble, out, matrix);
            }
        }
    }

    /// Returns the rows of a block: a multiple of the lanes.
    fn block(&self) -> usize {
        let bytes = self.bins.columns() * 2 * size_of::<BinLine>();
        (BLOCK_BYTES / bytes.max(1) * LANES).clamp(LANES, BLOCK)
    }

    /// Adds the contributions of the rows of a block: by vectors of rows, and one by one what is left if that is faster.
    fn add_rows(&self, ensemble: &Ensemble<T>, rows: &[T], out: &mut [f64], scratch: &mut ExplainScratch) {
        let features = ensemble.features;
        if self.bins.columns() == 0 {
            return;
        }
        if !self.tables.is_empty() {
            self.add_tables(ensemble, rows, out, &mut scratch.bins);
        }
        if self.lanes.is_empty() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(levels) = &self.levels {
            let width = ensemble.groups * (features + 1);
            let count = rows.len() / features;
            let alone = if count % LANES < ROWS_OF_A_VECTOR {
                count % LANES
            } else {
                0
            };
            let (rows, rest) = rows.split_at((count - alone) * features);
            let (out, out_of_rest) = out.split_at_mut((count - alone) * width);
            if !rows.is_empty() {
                self.add_block(ensemble, rows, out, &mut scratch.lanes, true);
            }
            let rest = rest
                .chunks_exact(features)
                .zip(out_of_rest.chunks_exact_mut(width));
            for (row, out) in rest {
                self.add_row(levels, ensemble, row, out, &mut scratch.levels);
                if self.lanes.has_only() {
                    self.add_block(ensemble, row, out, &mut scratch.lanes, false);
                }
            }
            return;
        }
        self.add_block(ensemble, rows, out, &mut scratch.lanes, true);
    }

    /// Adds the contributions of symmetric trees.
    fn add_tables(&self, ensemble: &Ensemble<T>, rows: &[T], out: &mut [f64], bins: &mut Vec<i32>) {
        let (features, columns) = (ensemble.features, self.bins.columns());
        bins.clear();
        bins.resize(rows.len() / features * columns, 0);
        for (row, bins) in rows.chunks_exact(features).zip(bins.chunks_exact_mut(columns)) {
            self.bins.fill(ensemble, row, bins.iter_mut());
        }
        self.tables.add((bins, columns), (out, features + 1), self.scale);
    }

    /// Adds the contributions of one row by the level kernel.
    #[cfg(target_arch = "x86_64")]
    fn add_row(
        &self,
        levels: &LevelLayout,
        ensemble: &Ensemble<T>,
        row: &[T],
        out: &mut [f64],
        buffers: &mut LevelBuffers,
    ) {
        buffers.bins.clear();
        buffers.bins.resize(self.bins.columns(), 0);
        self.bins.fill(ensemble, row, buffers.bins.iter_mut());
        let width = ensemble.features + 1;
        let add =
            |group: usize, column, sum| out[group * width + self.bins.feature(column)] += sum * self.scale;
        // SAFETY: there is a layout only where the kernel is available; its columns are those of the bins.
        unsafe { level_kernel::add_row(levels, buffers, add) };
    }

    /// Adds the contributions of rows by vectors of rows, of all trees or of those that no other kernel takes.
    fn add_block(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        out: &mut [f64],
        buffers: &mut LaneBuffers,
        all: bool,
    ) {
        let features = ensemble.features;
        let (count, width) = (rows.len() / features, features + 1);
        self.fill_lanes(ensemble, rows, &mut buffers.bins);
        self.lanes.add(all, buffers, |row, group, column, sum| {
            if row < count {
                let of_group = (row * ensemble.groups + group) * width;
                out[of_group + self.bins.feature(column)] += f64::from(sum) * self.scale;
            }
        });
    }

    /// Writes the bins of rows, `columns` lines for each vector of rows.
    fn fill_lanes(&self, ensemble: &Ensemble<T>, rows: &[T], lines: &mut Vec<BinLine>) {
        let columns = self.bins.columns();
        let rows = rows.chunks_exact(ensemble.features);
        lines.clear();
        lines.resize(rows.len().div_ceil(LANES) * columns, BinLine::default());
        for (row, x) in rows.enumerate() {
            let bins = &mut lines[row / LANES * columns..][..columns];
            self.bins
                .fill(ensemble, x, bins.iter_mut().map(|line| &mut line.0[row % LANES]));
        }
    }

    /// Adds the bias to a row's `width` numbers for each group, and scales them as the margin.
    fn finish(&self, ensemble: &Ensemble<T>, out: &mut [f64], width: usize) {
        for (group, out) in out.chunks_exact_mut(width).enumerate() {
            if let (Some(bias), Some(base)) = (out.last_mut(), ensemble.base.get(group)) {
                *bias += base.to_f64() + self.means[group];
            }
            ensemble.finish_contributions(group, out);
        }
    }
}

/// Adds to a matrix of `side` rows: the contribution of a feature, or a part of the interaction index of two, of which each
/// of the two places has half.
fn add_pair(matrix: &mut [f64], side: usize, (i, j): (usize, usize), sum: f64) {
    if i == j {
        matrix[i * side + i] += sum;
        return;
    }
    let half = sum / 2.0;
    matrix[i * side + j] += half;
    matrix[j * side + i] += half;
}

/// Leaves to each feature in use what is left of its contribution without its halves of the interaction indices.
fn take_halves(matrix: &mut [f64], side: usize, used: &[usize]) {
    for &i in used {
        let row = &mut matrix[i * side..][..side];
        let own = row[i];
        let all: f64 = row.iter().sum();
        row[i] = own - (all - own);
    }
}
