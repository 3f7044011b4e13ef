//! The trees as programs over lines of bits.
//!
//! Every tree comes to eight words that spell the number of the leaf that each row reaches, bit by bit. There are
//! three ways to them:
//!
//! ```text
//! oblivious   all splits of a level predicate the oblivious: the lines are the bits
//! push_complete   as many splits as a complete tree has, padded with questions that nobody answers with right: the rows
//!        that reach a split part at its line, and those that go right set the level's bit
//! push_irregular    the oblivious for trees of push_irregular form, split by split, by a list of steps; the leaves' rows then set the bits
//! ```

use crate::ensemble::{ChildRef, ChildTarget, Ensemble, Tree};
use crate::kernel::KernelFloat;
use crate::kernel::bit_sliced::predicate_table::NEVER;

/// Leaves that eight bits can number.
pub(super) const LEAVES: usize = 256;

/// The highest complete tree with so many leaves.
const HIGHEST: usize = 8;

/// Trees of one group whose leaves are added together.
pub(super) const TREE_BATCH: usize = 8;

/// A complete tree may have so many times the leaves of the tree it stands for: a step costs four times a place.
const PADDING: usize = 4;

/// How a tree's leaf is found; `predicates` and `steps` begin at a position of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum TreeForm {
    /// One line for each level.
    Oblivious { levels: usize, predicates: usize },
    /// A line for each split of a complete tree, each before its children and all on its left before those on its
    /// right.
    Complete { levels: usize, predicates: usize },
    /// Steps, and how many leaves they lead to.
    Irregular { steps: usize, end: usize, leaves: usize },
}

/// Rows part at a split: those at `from` that go right go on to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionStep {
    pub(super) predicate: u32,
    pub(super) from: u8,
    pub(super) to: u8,
}

/// A tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeProgram {
    pub(super) form: TreeForm,
    /// The first of its leaves.
    pub(super) leaves: usize,
}

/// All trees, group by group, each group's in the order in which their leaves are added.
#[derive(Debug)]
pub(super) struct TreePrograms<T> {
    pub(super) trees: Vec<TreeProgram>,
    /// Groups in order, and where the trees of each end.
    pub(super) groups: Vec<(usize, usize)>,
    /// Offsets of lines of eight bytes; longer lines are so many times farther.
    pub(super) predicates: Vec<u32>,
    pub(super) steps: Vec<PartitionStep>,
    pub(super) values: Vec<T>,
}

impl<T: KernelFloat> TreePrograms<T> {
    /// Lays out trees whose splits predicate these lines; `None` if one has more leaves than can be numbered.
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

    /// Bytes held.
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
            match oblivious(&self.predicates[predicates..], height) {
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

    /// Writes a complete tree, leaves and questions from left to right.
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
                    // Every row that comes here goes on to the left.
                    self.predicates
                        .resize(self.predicates.len() + (1 << below) - 1, NEVER * 8);
                    let value = ensemble.values[leaf];
                    self.values.resize(self.values.len() + (1 << below), value);
                }
            }
        }
    }

    /// Writes a tree's steps, level by level, so that one seldom waits for the one before.
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

/// Levels and leaves below a node.
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

/// The questions of the levels, if all splits of a level predicate the oblivious.
fn oblivious(predicates: &[u32], levels: usize) -> Option<Vec<u32>> {
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
