//! The layout of the binned kernel: blocks of up to 32 consecutive trees.
//!
//! The first levels of a block's trees are its *upper levels*. They are complete, stored level by level. The
//! predicates of the 32 trees at one node position are adjacent, so that one vector instruction evaluates all
//! of them. Each tree has 2^levels *exits* from the upper levels, and one *subtree* per exit.
//!
//! ```text
//! upper levels   line of position 0 (roots) | positions 1, 2 | 3..=6 | …    a line: 32 columns, then 32 bins
//! subtrees       of tree 0: exit 0, exit 1, … | of tree 1: …                complete subtrees, or node indices
//! ```
//! A subtree is *complete*, its predicates and leaves in as few cache lines as possible. Where trees are deep
//! or unbalanced, subtrees are *sparse*: nodes with adjacent children; a leaf's child is the leaf itself.
//! Unbalanced trees of up to 256 leaves need no subtrees: see [`UpperLevels::Preorder`].

mod preorder;
mod subtrees;

use crate::ensemble::{ChildRef, ChildTarget, Ensemble, Tree};
use crate::kernel::KernelFloat;
use crate::kernel::binned::column_order::ColumnOrder;
use crate::kernel::predicate::BinPredicate;
use crate::kernel::tree_shape::TreeShapes;

/// Trees in a block: the bytes of a vector.
pub(in crate::kernel) const LANES: usize = 32;

/// The predicates at one node position of a block's trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(in crate::kernel) struct PredicateLine {
    pub(in crate::kernel) columns: [u8; LANES],
    pub(in crate::kernel) bins: [u8; LANES],
}

/// One split of each of a block's trees, in the order of [`UpperLevels::Preorder`]. A row at leaf `from` that
/// goes right moves to leaf `to`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(in crate::kernel) struct PreorderStep {
    pub(in crate::kernel) predicates: PredicateLine,
    pub(in crate::kernel) from: [u8; LANES],
    pub(in crate::kernel) to: [u8; LANES],
}

/// Sixteen words, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(in crate::kernel) struct CacheLine(pub(in crate::kernel) [u32; 16]);

/// A node of a sparse subtree. A split's children are at `next` and `next + 1`; a leaf's `next` is the leaf
/// itself.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(in crate::kernel) struct SparseNode {
    pub(in crate::kernel) next: u32,
    pub(in crate::kernel) column: u16,
    pub(in crate::kernel) bin: u8,
}

/// How the exit indices of a block's trees are computed.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) enum UpperLevels {
    /// Level by level; the lines begin at `first`.
    Complete { first: usize },
    /// Level by level where all splits of a level are equal (oblivious trees): one line per level, from
    /// `first` on.
    Oblivious { first: usize },
    /// Split by split, for unbalanced trees; the steps begin at `first`. The current leaf is the leftmost
    /// leaf that the row can still reach. Parents come before children, and left subtrees before right ones.
    /// A split is on the row's path if the current leaf is the leftmost leaf below it.
    Preorder { first: usize, steps: usize },
}

/// The form of a block's subtrees.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) enum Subtrees {
    /// Complete subtrees of this height.
    Complete { height: usize },
    /// One word per exit: the index of its node.
    Sparse,
}

/// A block of up to 32 trees.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct TreeBlock {
    pub(in crate::kernel) trees: usize,
    /// Each tree has `2^levels` exits.
    pub(in crate::kernel) levels: usize,
    pub(in crate::kernel) upper_levels: UpperLevels,
    /// The first word of its subtrees.
    pub(in crate::kernel) first_word: usize,
    pub(in crate::kernel) subtrees: Subtrees,
}

/// All trees of a model.
#[derive(Debug)]
pub(in crate::kernel) struct TreeBlocks<T> {
    pub(in crate::kernel) blocks: Vec<TreeBlock>,
    pub(in crate::kernel) lines: Vec<PredicateLine>,
    pub(in crate::kernel) steps: Vec<PreorderStep>,
    pub(in crate::kernel) words: Vec<CacheLine>,
    pub(in crate::kernel) nodes: Vec<SparseNode>,
    /// The value of each node that is a leaf.
    pub(in crate::kernel) values: Vec<T>,
    /// The output group of each tree.
    pub(in crate::kernel) groups: Vec<u32>,
}

impl PredicateLine {
    /// Every tree goes left.
    const ALWAYS_LEFT: Self = Self {
        columns: [0; LANES],
        bins: [BinPredicate::ALWAYS_LEFT.bin; LANES],
    };
}

impl<T: KernelFloat> TreeBlocks<T> {
    /// Builds the layout. Returns `None` if leaves are not single constants, or if the model is too large.
    pub(in crate::kernel) fn new(ensemble: &Ensemble<T>, columns: &ColumnOrder) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let mut builder = LayoutBuilder {
            ensemble,
            columns,
            shapes: TreeShapes::of(ensemble),
            open: Vec::new(),
            words: Vec::new(),
            blocks: Self {
                blocks: Vec::new(),
                lines: Vec::new(),
                steps: Vec::new(),
                words: Vec::new(),
                nodes: Vec::new(),
                values: Vec::new(),
                groups: ensemble.trees.iter().map(|tree| tree.group).collect(),
            },
        };
        for trees in ensemble.trees.chunks(LANES) {
            builder.push_block(trees, columns.levels)?;
        }
        let LayoutBuilder {
            mut blocks, words, ..
        } = builder;
        blocks.lines.shrink_to_fit();
        blocks.steps.shrink_to_fit();
        blocks.nodes.shrink_to_fit();
        blocks.values.shrink_to_fit();
        blocks.words = words
            .chunks(16)
            .map(|chunk| {
                let mut words = CacheLine([0; 16]);
                words.0[..chunk.len()].copy_from_slice(chunk);
                words
            })
            .collect();
        Some(blocks)
    }

    /// Returns the bytes held in memory.
    pub(in crate::kernel) fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
            + size_of_val(self.lines.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.words.as_slice())
            + size_of_val(self.nodes.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.groups.as_slice())
    }
}

/// Builds the layout block by block.
struct LayoutBuilder<'a, T> {
    ensemble: &'a Ensemble<T>,
    columns: &'a ColumnOrder,
    shapes: TreeShapes,
    /// Nodes to visit with their place and the levels above or below. Empty between trees; kept for its memory.
    open: Vec<(ChildRef, usize, usize)>,
    words: Vec<u32>,
    blocks: TreeBlocks<T>,
}

impl<T: KernelFloat> LayoutBuilder<'_, T> {
    fn push_block(&mut self, trees: &[Tree], levels: usize) -> Option<()> {
        let depth = trees.iter().map(|tree| self.shapes.height(tree.root)).max()?;
        let levels = levels.min(depth);
        let first_line = self.blocks.lines.len();
        let places = (1 << levels) - 1;
        self.blocks
            .lines
            .resize(first_line + places, PredicateLine::ALWAYS_LEFT);
        let mut exits = vec![None; trees.len() << levels];
        for (lane, (tree, exits)) in trees.iter().zip(exits.chunks_exact_mut(1 << levels)).enumerate() {
            self.write_upper_levels(tree.root, first_line, lane, levels, exits);
        }
        let subtrees = self.choose_subtrees(&exits, depth - levels);
        if let (Subtrees::Sparse, Some(steps)) = (subtrees, self.preorder_steps(trees, &exits, levels)) {
            self.blocks.lines.truncate(first_line);
            return self.push_preorder(trees, steps);
        }
        let upper_levels = self
            .as_oblivious(first_line, levels)
            .unwrap_or(UpperLevels::Complete { first: first_line });
        self.finish_block(trees, levels, upper_levels, subtrees, &exits)
    }

    /// Keeps one line per level if all lines of each level are equal.
    fn as_oblivious(&mut self, first: usize, levels: usize) -> Option<UpperLevels> {
        let level = |level: usize| first + (1 << level) - 1..first + (2 << level) - 1;
        let lines = &mut self.blocks.lines;
        let equal = |lines: &[PredicateLine]| lines.iter().all(|line| *line == lines[0]);
        if !(0..levels).all(|at| equal(&lines[level(at)])) {
            return None;
        }
        for at in 0..levels {
            lines[first + at] = lines[level(at).start];
        }
        lines.truncate(first + levels);
        Some(UpperLevels::Oblivious { first })
    }

    fn finish_block(
        &mut self,
        trees: &[Tree],
        levels: usize,
        upper_levels: UpperLevels,
        subtrees: Subtrees,
        exits: &[Option<ChildRef>],
    ) -> Option<()> {
        self.words.resize(self.words.len().next_multiple_of(16), 0);
        let first_word = self.words.len();
        self.write_subtrees(exits, subtrees)?;
        self.blocks.blocks.push(TreeBlock {
            trees: trees.len(),
            levels,
            upper_levels,
            first_word,
            subtrees,
        });
        Some(())
    }

    /// Writes one tree's predicates into its lane and collects the nodes at its exits.
    fn write_upper_levels(
        &mut self,
        root: ChildRef,
        first_line: usize,
        lane: usize,
        levels: usize,
        exits: &mut [Option<ChildRef>],
    ) {
        self.open.push((root, 0, 0));
        while let Some((node, place, level)) = self.open.pop() {
            match node.target() {
                ChildTarget::Split(split) if level < levels => {
                    let line = &mut self.blocks.lines[first_line + place];
                    // `ColumnOrder` makes the upper levels use only columns below 256.
                    line.columns[lane] = self.columns.predicates[split].column.to_le_bytes()[0];
                    line.bins[lane] = self.columns.predicates[split].bin;
                    let split = &self.ensemble.splits[split];
                    self.open.push((split.left, 2 * place + 1, level + 1));
                    self.open.push((split.right, 2 * place + 2, level + 1));
                }
                // A leaf above the last level fills every exit below it.
                _ => {
                    let below = levels - level;
                    let first = ((place + 1) << below) - (1 << levels);
                    exits[first..first + (1 << below)].fill(Some(node));
                }
            }
        }
    }
}

/// Returns the words of a complete subtree of this height.
#[inline(always)]
pub(in crate::kernel) const fn subtree_words<T>(height: usize) -> usize {
    let leaf = size_of::<T>() / 4;
    let words = (1 << height) - 1 + (leaf << height);
    // One more word, so that no subtree crosses a cache line.
    if words % 4 == 3 { words + 1 } else { words }
}
