//! The subtrees below the upper levels: complete or sparse.

use crate::ensemble::{ChildRef, ChildTarget};
use crate::kernel::KernelFloat;
use crate::kernel::binned::tree_block::{LayoutBuilder, SparseNode, Subtrees, subtree_words};
use crate::kernel::predicate::BinPredicate;

/// The greatest height of a complete subtree.
const TALLEST: usize = 8;

/// Complete subtrees may take this many times the space of sparse ones.
const PADDING: usize = 2;

impl<T: KernelFloat> LayoutBuilder<'_, T> {
    /// Chooses complete subtrees if the padding is acceptable.
    pub(super) fn choose_subtrees(&self, exits: &[Option<ChildRef>], height: usize) -> Subtrees {
        if height > TALLEST {
            return Subtrees::Sparse;
        }
        let leaf = size_of::<T>() / 4;
        let words = subtree_words::<T>(height);
        let mut sparse_words = 0;
        for exit in exits.iter().flatten() {
            let nodes = 2 * self.shapes.leaves(*exit) - 1;
            sparse_words += 1 + nodes * (2 + leaf);
        }
        if height > 0 && exits.len() * words > PADDING * sparse_words {
            return Subtrees::Sparse;
        }
        Subtrees::Complete { height }
    }

    pub(super) fn write_subtrees(&mut self, exits: &[Option<ChildRef>], subtrees: Subtrees) -> Option<()> {
        match subtrees {
            Subtrees::Complete { height } => {
                let words = subtree_words::<T>(height);
                for exit in exits {
                    let from = self.words.len();
                    self.words.resize(from + words, 0);
                    self.write_complete(*exit, from, height);
                }
            }
            Subtrees::Sparse => {
                let mut last = None;
                for exit in exits {
                    // Exits below one leaf share a node.
                    let node = match last {
                        Some((same, node)) if same == *exit => node,
                        _ => self.write_sparse(*exit)?,
                    };
                    last = Some((*exit, node));
                    self.words.push(node);
                }
            }
        }
        Some(())
    }

    /// Writes a complete subtree and its leaves, from word `from` on.
    fn write_complete(&mut self, root: Option<ChildRef>, from: usize, height: usize) {
        let inner = (1usize << height) - 1;
        for place in 0..inner {
            self.words[from + place] = word(BinPredicate::ALWAYS_LEFT);
        }
        let Some(root) = root else { return };
        self.open.push((root, 0, height));
        while let Some((node, place, below)) = self.open.pop() {
            match node.target() {
                ChildTarget::Split(split) => {
                    self.words[from + place] = word(self.columns.predicates[split]);
                    let split = &self.ensemble.splits[split];
                    self.open.push((split.left, 2 * place + 1, below - 1));
                    self.open.push((split.right, 2 * place + 2, below - 1));
                }
                ChildTarget::Leaf(leaf) => {
                    // Rows below a leaf always go left.
                    let at = ((place + 1) << below) - 1 - inner;
                    let width = size_of::<T>() / 4;
                    let into = &mut self.words[from + inner + at * width..][..width];
                    self.ensemble.values[leaf].write(into);
                }
            }
        }
    }

    /// Writes the nodes of a sparse subtree. Returns the index of its root.
    fn write_sparse(&mut self, root: Option<ChildRef>) -> Option<u32> {
        let first = self.blocks.nodes.len();
        self.reserve_nodes(1);
        // What is no split is its own next node.
        self.blocks.nodes[first].next = u32::try_from(first).ok()?;
        self.open.extend(root.map(|root| (root, first, 0)));
        while let Some((node, at, _)) = self.open.pop() {
            let split = match node.target() {
                ChildTarget::Split(split) => split,
                ChildTarget::Leaf(leaf) => {
                    self.blocks.values[at] = self.ensemble.values[leaf];
                    self.blocks.nodes[at].next = u32::try_from(at).ok()?;
                    continue;
                }
            };
            let next = self.blocks.nodes.len();
            self.reserve_nodes(2);
            let BinPredicate { column, bin } = self.columns.predicates[split];
            self.blocks.nodes[at] = SparseNode {
                next: u32::try_from(next).ok()?,
                column,
                bin,
            };
            let split = &self.ensemble.splits[split];
            self.open.push((split.right, next + 1, 0));
            self.open.push((split.left, next, 0));
        }
        u32::try_from(first).ok()
    }

    fn reserve_nodes(&mut self, nodes: usize) {
        let BinPredicate { column, bin } = BinPredicate::ALWAYS_LEFT;
        let len = self.blocks.nodes.len() + nodes;
        self.blocks.nodes.resize(len, SparseNode { next: 0, column, bin });
        self.blocks.values.resize(len, T::ZERO);
    }
}

/// Packs a predicate into a word: the column, then the bin.
fn word(predicate: BinPredicate) -> u32 {
    u32::from(predicate.column) | u32::from(predicate.bin) << 16
}
