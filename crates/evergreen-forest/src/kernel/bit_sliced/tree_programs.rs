//! Trees as programs on lines of bits.
//!
//! A program computes eight words: the bits of the leaf number of each row. There are three forms:
//!
//! ```text
//! oblivious   all splits of a level are equal: the lines are the bits
//! complete    a complete tree, padded with predicates that always go left: the rows at a split are partitioned by
//!             its line, and those that go right set the level's bit
//! irregular   any other tree: a list of partition steps; the rows at each leaf then set the bits
//! ```

use crate::ensemble::{ChildRef, ChildTarget, Ensemble, Tree};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::predicate_table::NEVER;

/// Leaves that eight bits can number.
pub(super) const LEAVES: usize = 256;

/// The height of a complete tree with that many leaves.
const HIGHEST: usize = 8;

/// Trees of one group whose leaves are added together.
pub(super) const TREE_BATCH: usize = 8;

/// A complete tree may have this many times the leaves of the original: a step costs four times a split.
const PADDING: usize = 4;

/// How a row's leaf number is computed. `predicates` and `steps` are positions in the arrays of
/// [`TreePrograms`].
#[derive(Clone, Copy, Debug)]
pub(super) enum TreeForm {
    /// One line per level.
    Oblivious { levels: usize, predicates: usize },
    /// One line per split in preorder: parents before children, left subtrees before right ones.
    Complete { levels: usize, predicates: usize },
    /// Partition steps, and the number of leaves.
    Irregular { steps: usize, end: usize, leaves: usize },
}

/// Moves the rows at leaf `from` that go right to leaf `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionStep {
    pub(super) predicate: u32,
    pub(super) from: u8,
    pub(super) to: u8,
}

/// The program of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeProgram {
    pub(super) form: TreeForm,
    /// Position of its first leaf.
    pub(super) leaves: usize,
}

/// All trees, group by group. Within a group they are in the order in which their leaves are added.
#[derive(Debug)]
pub(super) struct TreePrograms<T> {
    pub(super) trees: Vec<TreeProgram>,
    /// The groups in order, with the end of their trees.
    pub(super) groups: Vec<(usize, usize)>,
    /// Byte offsets of lines of eight bytes. Longer lines scale the offset.
    pub(super) predicates: Vec<u32>,
    pub(super) steps: Vec<PartitionStep>,
    pub(super) values: Vec<T>,
}

impl<T: KernelFloat> TreePrograms<T> {
    /// Builds the programs; `lines` holds the line of each split. Returns `None` if a tree has too many
    /// leaves.
    pub(super) fn new(ensemble: &Ensemble<T>, lines: &[u32]) -> Option<Self> {
        let mut programs = Self {
            trees: Vec::with_capacity(ensemble.trees.len()),
            groups: Vec::new(),
            predicates: Vec::new(),
            steps: Vec::new(),
            values: Vec::new(),
        };
        let mut trees: Vec<&Tree> = ensemble.trees.iter().collect();
        trees.sort_by_key(|tree| tree.group);
        for trees in trees.chunk_by(|a, b| a.group == b.group) {
            for tree in trees {
                programs.push_tree(ensemble, lines, tree.root)?;
            }
            programs
                .groups
                .push((trees.first()?.group as usize, programs.trees.len()));
        }
        Some(programs)
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.trees.as_slice())
            + size_of_val(self.predicates.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.values.as_slice())
    }

    fn push_tree(&mut self, ensemble: &Ensemble<T>, lines: &[u32], root: ChildRef) -> Option<()> {
        let (height, count) = measure(ensemble, root);
        let leaves = self.values.len();
        let form = if height <= HIGHEST && 1 << height <= PADDING * count {
            let predicates = self.predicates.len();
            self.push_complete(ensemble, lines, root, height);
            match equal_levels(&self.predicates[predicates..], height) {
                Some(levels) if 1 << height == count => {
                    self.predicates.truncate(predicates);
                    self.predicates.extend(levels);
                    TreeForm::Oblivious {
                        levels: height,
                        predicates,
                    }
                }
                _ => TreeForm::Complete {
                    levels: height,
                    predicates,
                },
            }
        } else if count <= LEAVES {
            let steps = self.steps.len();
            self.push_irregular(ensemble, lines, root)?;
            TreeForm::Irregular {
                steps,
                end: self.steps.len(),
                leaves: count,
            }
        } else {
            return None;
        };
        self.trees.push(TreeProgram { form, leaves });
        Some(())
    }

    /// Writes a complete tree: predicates in preorder, leaves from left to right.
    fn push_complete(&mut self, ensemble: &Ensemble<T>, lines: &[u32], root: ChildRef, height: usize) {
        let mut open = vec![(root, height)];
        while let Some((node, below)) = open.pop() {
            match node.target() {
                ChildTarget::Split(split) => {
                    self.predicates.push(lines[split] * 8);
                    let split = &ensemble.splits[split];
                    open.push((split.right, below - 1));
                    open.push((split.left, below - 1));
                }
                ChildTarget::Leaf(leaf) => {
                    // Every row below a leaf goes left.
                    self.predicates
                        .resize(self.predicates.len() + (1 << below) - 1, NEVER * 8);
                    let value = ensemble.values[leaf];
                    self.values.resize(self.values.len() + (1 << below), value);
                }
            }
        }
    }

    /// Writes a tree's steps level by level, so that a step rarely waits for the previous one.
    fn push_irregular(&mut self, ensemble: &Ensemble<T>, lines: &[u32], root: ChildRef) -> Option<()> {
        let mut level = vec![(root, 0)];
        let first = self.values.len();
        self.leaves(ensemble, root);
        while !level.is_empty() {
            let mut next = Vec::new();
            for (node, from) in level {
                if let ChildTarget::Split(split) = node.target() {
                    let predicate = lines[split] * 8;
                    let split = &ensemble.splits[split];
                    let to = from + measure(ensemble, split.left).1;
                    self.steps.push(PartitionStep {
                        predicate,
                        from: u8::try_from(from).ok()?,
                        to: u8::try_from(to).ok()?,
                    });
                    next.extend([(split.left, from), (split.right, to)]);
                }
            }
            level = next;
        }
        debug_assert!(self.values.len() > first, "a tree has a leaf");
        Some(())
    }

    /// Appends the leaves from left to right.
    fn leaves(&mut self, ensemble: &Ensemble<T>, root: ChildRef) {
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            match node.target() {
                ChildTarget::Split(split) => {
                    let split = &ensemble.splits[split];
                    open.extend([split.right, split.left]);
                }
                ChildTarget::Leaf(leaf) => self.values.push(ensemble.values[leaf]),
            }
        }
    }
}

/// Returns the levels and the leaves below a node.
fn measure<T: KernelFloat>(ensemble: &Ensemble<T>, root: ChildRef) -> (usize, usize) {
    let (mut height, mut leaves) = (0, 0);
    let mut open = vec![(root, 0)];
    while let Some((node, depth)) = open.pop() {
        match node.target() {
            ChildTarget::Split(split) => {
                let split = &ensemble.splits[split];
                open.extend([(split.left, depth + 1), (split.right, depth + 1)]);
            }
            ChildTarget::Leaf(_) => {
                height = height.max(depth);
                leaves += 1;
            }
        }
    }
    (height, leaves)
}

/// Returns one predicate per level if all splits of each level are equal.
fn equal_levels(predicates: &[u32], levels: usize) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let mut subtrees = vec![predicates];
    for _ in 0..levels {
        let mut next = Vec::new();
        let first = *subtrees.first()?.first()?;
        for subtree in subtrees {
            let (predicate, below) = subtree.split_first()?;
            if *predicate != first {
                return None;
            }
            let (left, right) = below.split_at(below.len() / 2);
            next.extend([left, right]);
        }
        found.push(first);
        subtrees = next;
    }
    Some(found)
}
