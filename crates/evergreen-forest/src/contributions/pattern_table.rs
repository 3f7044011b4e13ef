//! Tables of contributions for symmetric trees, whose splits are equal on each level.
//!
//! Such a tree of depth `d` knows only `2^d` patterns of answers, so all its contributions fit a small table: a row costs
//! one look-up per tree. The lane kernel computes the tables.

use std::ops::Range;

use crate::contributions::cover_share::splits_of;
use crate::contributions::lane_kernel::{LaneBuffers, LaneKernel, TreeTerm};
use crate::contributions::lanes::{BinLine, LANES, LaneSet};
use crate::contributions::row_bins::BinTest;
use crate::contributions::tree_program::TreePrograms;
use crate::contributions::tree_source::TreeSource;
use crate::ensemble::{ChildRef, ChildTarget, LeafNode, Split};
use crate::number::Real;

/// Most levels: computing a table takes four times as long for each level more.
const MAX_LEVELS: usize = 8;

/// Bytes of tables that are read for all rows of a block before the next ones.
const CHUNK_BYTES: usize = 1 << 14;

/// A symmetric tree.
#[derive(Debug)]
struct PatternTree {
    group: u32,
    /// Positions in [`PatternTables::tests`], from the root down.
    tests: Range<u32>,
    /// Positions in [`PatternTables::features`].
    features: Range<u32>,
    /// Position in [`PatternTables::sums`].
    first_sum: usize,
}

/// The tables of symmetric trees.
#[derive(Debug, Default)]
pub(super) struct PatternTables {
    /// One for each output of a tree.
    trees: Vec<PatternTree>,
    tests: Vec<BinTest>,
    /// The distinct features of each tree.
    features: Vec<u32>,
    /// For each tree and pattern the contributions of the tree's features.
    sums: Vec<f32>,
    /// Trees that are looked up together.
    chunks: Vec<Range<usize>>,
}

/// Returns the tests of a symmetric tree from the root down, each with its feature. Returns `None` if the tree is not
/// symmetric, has no splits or too many levels.
fn levels<T: Real>(source: &TreeSource<'_, T>, root: ChildRef) -> Option<Vec<(BinTest, u32)>> {
    let mut levels = Vec::new();
    let mut level = vec![root];
    loop {
        let splits = level.iter().filter_map(|node| match node.target() {
            ChildTarget::Split(split) => Some(split),
            ChildTarget::Leaf(_) => None,
        });
        let splits: Vec<usize> = splits.collect();
        let Some(first) = splits.first() else {
            return (!levels.is_empty()).then_some(levels);
        };
        let test = source.tests[*first];
        let equal = splits.len() == level.len() && splits.iter().all(|split| source.tests[*split] == test);
        if !equal || levels.len() == MAX_LEVELS {
            return None;
        }
        levels.push((test, source.ensemble.splits[*first].feature));
        let children = splits.iter().map(|split| &source.ensemble.splits[*split]);
        level = children.flat_map(|split| [split.left, split.right]).collect();
    }
}

impl PatternTables {
    /// Adds the tables of a tree, one for each of its outputs, if it is symmetric and they do not take more than twice the
    /// memory of the tree. Returns whether they were added. `means` are the means of its outputs, the first of which
    /// belongs to `first_group`. Overwrites the tree's part of `level_tests`, which is as long as `source.tests`.
    pub(super) fn push<T: Real>(
        &mut self,
        source: &TreeSource<'_, T>,
        tree: usize,
        first_group: usize,
        means: &[f64],
        level_tests: &mut [BinTest],
    ) -> bool {
        let root = source.ensemble.trees[tree].root;
        let Some(levels) = levels(source, root) else {
            return false;
        };
        let of_leaf = size_of::<Split<T>>() + size_of::<LeafNode>() + (means.len() + 2) * size_of::<T>();
        if means.len() * levels.len() * size_of::<f32>() > 2 * of_leaf {
            return false;
        }
        let tests = self.tests.len() as u32;
        self.tests.extend(levels.iter().map(|(test, _)| *test));
        let mut features: Vec<u32> = levels.iter().map(|(_, feature)| *feature).collect();
        features.sort_unstable();
        features.dedup();
        let first_feature = self.features.len() as u32;
        self.features.extend_from_slice(&features);
        let places = levels
            .iter()
            .map(|(_, feature)| features.partition_point(|other| other < feature));
        let places: Vec<usize> = places.collect();
        let (patterns, count) = (1 << levels.len(), features.len());
        let first_sum = self.sums.len();
        self.sums.resize(first_sum + means.len() * patterns * count, 0.0);
        let kernel = kernel_of_levels(source, tree, &levels, means, level_tests);
        let mut buffers = LaneBuffers::default();
        for vector in 0..patterns.div_ceil(LANES) {
            let bins = (0..levels.len()).map(|level| {
                BinLine(std::array::from_fn(|lane| {
                    (vector * LANES + lane) as i32 >> level & 1
                }))
            });
            buffers.bins.clear();
            buffers.bins.extend(bins);
            kernel.add(true, &mut buffers, |lane, output, level, sum| {
                let pattern = vector * LANES + lane;
                if pattern < patterns {
                    self.sums[first_sum + (output * patterns + pattern) * count + places[level]] += sum;
                }
            });
        }
        for output in 0..means.len() {
            self.trees.push(PatternTree {
                group: (first_group + output) as u32,
                tests: tests..self.tests.len() as u32,
                features: first_feature..self.features.len() as u32,
                first_sum: first_sum + output * patterns * count,
            });
        }
        true
    }

    /// Arranges the tables once all are there.
    pub(super) fn finish(&mut self) {
        self.trees.shrink_to_fit();
        self.tests.shrink_to_fit();
        self.features.shrink_to_fit();
        self.sums.shrink_to_fit();
        let mut bytes = 0;
        for (position, tree) in self.trees.iter().enumerate() {
            bytes += size_of::<f32>() * (tree.features.len() << tree.tests.len());
            match self.chunks.last_mut() {
                Some(chunk) if bytes <= CHUNK_BYTES => chunk.end = position + 1,
                _ => {
                    self.chunks.push(position..position + 1);
                    bytes = 0;
                }
            }
        }
    }

    /// Returns whether there are no tables.
    pub(super) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.trees.as_slice())
            + size_of_val(self.tests.as_slice())
            + size_of_val(self.features.as_slice())
            + size_of_val(self.sums.as_slice())
            + size_of_val(self.chunks.as_slice())
    }

    /// Adds the contributions of rows. `bins` holds `columns` numbers for each row, `out` `width` for each group.
    /// The sums are multiplied by `scale`.
    pub(super) fn add(
        &self,
        (bins, columns): (&[i32], usize),
        (out, width): (&mut [f64], usize),
        scale: f64,
    ) {
        let of_row = out.len() / (bins.len() / columns).max(1);
        for chunk in &self.chunks {
            for (bins, out) in bins.chunks_exact(columns).zip(out.chunks_exact_mut(of_row)) {
                for tree in &self.trees[chunk.clone()] {
                    let out = &mut out[tree.group as usize * width..][..width];
                    self.add_tree(tree, bins, out, scale);
                }
            }
        }
    }

    #[inline]
    fn add_tree(&self, tree: &PatternTree, bins: &[i32], out: &mut [f64], scale: f64) {
        let tests = &self.tests[tree.tests.start as usize..tree.tests.end as usize];
        let features = &self.features[tree.features.start as usize..tree.features.end as usize];
        let pattern = tests.iter().rev().fold(0, |pattern, test| {
            2 * pattern + usize::from(bins[test.column as usize] > test.bound)
        });
        let sums = &self.sums[tree.first_sum + pattern * features.len()..][..features.len()];
        for (feature, sum) in features.iter().zip(sums) {
            out[*feature as usize] += f64::from(*sum) * scale;
        }
    }
}

/// Returns the lane kernel of one tree, whose columns are the levels: bin 1 goes right.
fn kernel_of_levels<T: Real>(
    source: &TreeSource<'_, T>,
    tree: usize,
    levels: &[(BinTest, u32)],
    means: &[f64],
    level_tests: &mut [BinTest],
) -> LaneKernel {
    for position in splits_of(source.ensemble, tree) {
        let level = levels
            .iter()
            .position(|(test, _)| *test == source.tests[position]);
        level_tests[position] = BinTest {
            column: level.unwrap_or(0) as u32,
            bound: 0,
        };
    }
    let source = TreeSource {
        tests: level_tests,
        ..*source
    };
    let mut programs = TreePrograms::default();
    programs.push(&source, &source.ensemble.trees[tree], means);
    let terms = (0..means.len()).map(|output| TreeTerm {
        tree: 0,
        output,
        group: output,
        only: true,
    });
    LaneKernel::new(
        programs,
        terms.collect(),
        (levels.len(), means.len()),
        LaneSet::best(),
    )
}
