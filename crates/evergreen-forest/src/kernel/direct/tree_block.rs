//! The layout of the direct kernel: blocks of eight trees.
//!
//! ```text
//! words     of tree 0: unused, thresholds by level, 2^levels exits | of tree 1: …    node p has children 2p, 2p + 1
//! columns   of tree 0: unused, columns by level                    | of tree 1: …
//! ```
//! An exit holds the bits of a leaf. In blocks of deep or unbalanced trees it holds the index of a sparse
//! *node*, whose children are at `next` and `next + 1`. A leaf's `next` is the leaf itself, so that trees can
//! be evaluated together without checking which have finished.

use crate::ensemble::{ChildRef, ChildTarget, Ensemble, Tree};
use crate::kernel::KernelFloat;
use crate::kernel::direct::row_keys::KeyPredicate;
use crate::kernel::ordered_key::OrderedKey;
use crate::kernel::tree_shape::TreeShapes;

/// Trees evaluated together.
pub(super) const LANES: usize = 8;

/// Levels of the tallest complete tree.
pub(super) const TALLEST: usize = 8;

/// Complete trees may have this many times the leaves of the originals.
const PADDING: usize = 4;

/// A block of up to eight trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectBlock {
    pub(super) trees: usize,
    /// Position of the first tree.
    pub(super) first: usize,
    /// Levels stored as complete.
    pub(super) levels: usize,
    /// Where its words and columns begin.
    pub(super) words: usize,
    pub(super) columns: usize,
    /// Exits are node indices.
    pub(super) has_sparse: bool,
}

/// A node below the complete levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectNode<K> {
    pub(super) threshold: K,
    pub(super) next: u32,
    pub(super) column: u16,
}

/// All trees of a model.
#[derive(Debug)]
pub(super) struct DirectBlocks<T: KernelFloat> {
    pub(super) blocks: Vec<DirectBlock>,
    pub(super) words: Vec<T::OrderedKey>,
    pub(super) columns: Vec<u16>,
    pub(super) nodes: Vec<DirectNode<T::OrderedKey>>,
    /// The value of each node that is a leaf.
    pub(super) values: Vec<T>,
    /// The output group of each tree.
    pub(super) groups: Vec<u32>,
}

impl<T: KernelFloat> DirectBlocks<T> {
    /// Builds the layout of a model whose leaves are single constants. Returns `None` if it is too large.
    pub(super) fn new(ensemble: &Ensemble<T>, predicates: &[KeyPredicate<T::OrderedKey>]) -> Option<Self> {
        let mut builder = DirectBuilder {
            ensemble,
            predicates,
            shapes: TreeShapes::of(ensemble),
            open: Vec::new(),
            blocks: Self {
                blocks: Vec::new(),
                words: Vec::new(),
                columns: Vec::new(),
                nodes: Vec::new(),
                values: Vec::new(),
                groups: ensemble.trees.iter().map(|tree| tree.group).collect(),
            },
        };
        for (at, trees) in ensemble.trees.chunks(LANES).enumerate() {
            builder.push_block(at * LANES, trees)?;
        }
        let mut blocks = builder.blocks;
        blocks.words.shrink_to_fit();
        blocks.columns.shrink_to_fit();
        blocks.nodes.shrink_to_fit();
        blocks.values.shrink_to_fit();
        Some(blocks)
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
            + size_of_val(self.words.as_slice())
            + size_of_val(self.columns.as_slice())
            + size_of_val(self.nodes.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.groups.as_slice())
    }

    /// Returns how many blocks take about `bytes` bytes.
    pub(super) fn within(&self, bytes: usize) -> usize {
        (bytes * self.blocks.len() / self.bytes().max(1)).max(1)
    }
}

/// A layout under construction.
struct DirectBuilder<'a, T: KernelFloat> {
    ensemble: &'a Ensemble<T>,
    predicates: &'a [KeyPredicate<T::OrderedKey>],
    shapes: TreeShapes,
    /// Nodes to visit with their place and the levels above or below. Empty between trees; kept for its memory.
    open: Vec<(ChildRef, usize, usize)>,
    blocks: DirectBlocks<T>,
}

impl<T: KernelFloat> DirectBuilder<'_, T> {
    fn push_block(&mut self, first: usize, trees: &[Tree]) -> Option<()> {
        let depth = trees.iter().map(|tree| self.shapes.height(tree.root)).max()?;
        let leaves: usize = trees.iter().map(|tree| self.shapes.leaves(tree.root)).sum();
        let has_sparse = depth > TALLEST || trees.len() << depth > PADDING * leaves;
        let levels = if has_sparse {
            ((leaves / trees.len()).ilog2() as usize).min(TALLEST)
        } else {
            depth
        };
        let block = DirectBlock {
            trees: trees.len(),
            first,
            levels,
            words: self.blocks.words.len(),
            columns: self.blocks.columns.len(),
            has_sparse,
        };
        // No key is above `MOST`: a row at a position without a split goes left.
        let words = block.words + (LANES << (levels + 1));
        self.blocks.words.resize(words, T::OrderedKey::MOST);
        let columns = block.columns + (LANES << levels);
        self.blocks.columns.resize(columns, 0);
        for lane in 0..LANES {
            match trees.get(lane) {
                Some(tree) => self.push_tree(&block, lane, tree.root)?,
                None if has_sparse => self.push_empty(&block, lane)?,
                None => {}
            }
        }
        self.blocks.blocks.push(block);
        Some(())
    }

    /// Writes a tree into a lane.
    fn push_tree(&mut self, block: &DirectBlock, lane: usize, root: ChildRef) -> Option<()> {
        let words = block.words + (lane << (block.levels + 1));
        let columns = block.columns + (lane << block.levels);
        self.open.push((root, 1, 0));
        while let Some((node, place, level)) = self.open.pop() {
            let exit = place << (block.levels - level);
            match node.target() {
                ChildTarget::Split(split) if level < block.levels => {
                    let KeyPredicate { column, threshold } = self.predicates[split];
                    self.blocks.words[words + place] = threshold;
                    self.blocks.columns[columns + place] = column;
                    let split = &self.ensemble.splits[split];
                    self.open.push((split.left, 2 * place, level + 1));
                    self.open.push((split.right, 2 * place + 1, level + 1));
                }
                ChildTarget::Leaf(leaf) if !block.has_sparse => {
                    self.blocks.words[words + exit] = self.ensemble.values[leaf].bits();
                }
                _ => {
                    let push_nodes = self.push_nodes(node)?;
                    self.blocks.words[words + exit] = T::OrderedKey::of_position(push_nodes);
                }
            }
        }
        Some(())
    }

    /// Fills a lane without a tree with a single leaf.
    fn push_empty(&mut self, block: &DirectBlock, lane: usize) -> Option<()> {
        let at = self.push_leaf(T::ZERO)?;
        let exit = block.words + (lane << (block.levels + 1)) + (1 << block.levels);
        self.blocks.words[exit] = T::OrderedKey::of_position(at);
        Some(())
    }

    fn push_leaf(&mut self, value: T) -> Option<u32> {
        let at = u32::try_from(self.blocks.nodes.len()).ok()?;
        self.blocks.nodes.push(DirectNode {
            threshold: T::OrderedKey::MOST,
            next: at,
            column: 0,
        });
        self.blocks.values.push(value);
        Some(at)
    }

    /// Writes the nodes of a subtree. Returns the index of its root.
    fn push_nodes(&mut self, root: ChildRef) -> Option<u32> {
        let first = self.push_leaf(T::ZERO)?;
        let mut open = vec![(root, first)];
        while let Some((node, at)) = open.pop() {
            match node.target() {
                ChildTarget::Leaf(leaf) => self.blocks.values[at as usize] = self.ensemble.values[leaf],
                ChildTarget::Split(split) => {
                    let (left, right) = (self.push_leaf(T::ZERO)?, self.push_leaf(T::ZERO)?);
                    let KeyPredicate { column, threshold } = self.predicates[split];
                    self.blocks.nodes[at as usize] = DirectNode {
                        threshold,
                        next: left,
                        column,
                    };
                    let split = &self.ensemble.splits[split];
                    open.push((split.right, right));
                    open.push((split.left, left));
                }
            }
        }
        Some(first)
    }
}
