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
use crate::kernel::tree_shape::TreeShapes;

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
        let mut builder = ProgramBuilder {
            ensemble,
            lines,
            shapes: TreeShapes::of(ensemble),
            open: Vec::new(),
            level: Vec::new(),
            programs: Self {
                trees: Vec::with_capacity(ensemble.trees.len()),
                groups: Vec::new(),
                predicates: Vec::new(),
                steps: Vec::new(),
                values: Vec::new(),
            },
        };
        let mut trees: Vec<&Tree> = ensemble.trees.iter().collect();
        trees.sort_by_key(|tree| tree.group);
        for trees in trees.chunk_by(|a, b| a.group == b.group) {
            for tree in trees {
                builder.push_tree(tree.root)?;
            }
            let programs = &mut builder.programs;
            programs
                .groups
                .push((trees.first()?.group as usize, programs.trees.len()));
        }
        Some(builder.programs)
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.trees.as_slice())
            + size_of_val(self.predicates.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.values.as_slice())
    }
}

/// Writes the programs tree by tree.
struct ProgramBuilder<'a, T> {
    ensemble: &'a Ensemble<T>,
    /// The line of each split.
    lines: &'a [u32],
    shapes: TreeShapes,
    /// Nodes to visit, with the levels below them or with their first leaf. Both are empty between trees, and kept for
    /// their memory.
    open: Vec<(ChildRef, usize)>,
    level: Vec<(ChildRef, usize)>,
    programs: TreePrograms<T>,
}

impl<T: KernelFloat> ProgramBuilder<'_, T> {
    fn push_tree(&mut self, root: ChildRef) -> Option<()> {
        let (height, count) = (self.shapes.height(root), self.shapes.leaves(root));
        let leaves = self.programs.values.len();
        let form = if height <= HIGHEST && 1 << height <= PADDING * count {
            let predicates = self.programs.predicates.len();
            self.push_complete(root, height);
            if 1 << height == count && keep_equal_levels(&mut self.programs.predicates, predicates, height) {
                TreeForm::Oblivious {
                    levels: height,
                    predicates,
                }
            } else {
                TreeForm::Complete {
                    levels: height,
                    predicates,
                }
            }
        } else if count <= LEAVES {
            let steps = self.programs.steps.len();
            self.push_irregular(root)?;
            TreeForm::Irregular {
                steps,
                end: self.programs.steps.len(),
                leaves: count,
            }
        } else {
            return None;
        };
        self.programs.trees.push(TreeProgram { form, leaves });
        Some(())
    }

    /// Writes a complete tree: predicates in preorder, leaves from left to right.
    fn push_complete(&mut self, root: ChildRef, height: usize) {
        let TreePrograms {
            predicates, values, ..
        } = &mut self.programs;
        self.open.push((root, height));
        while let Some((node, below)) = self.open.pop() {
            match node.target() {
                ChildTarget::Split(split) => {
                    predicates.push(self.lines[split] * 8);
                    let split = &self.ensemble.splits[split];
                    self.open
                        .extend([(split.right, below - 1), (split.left, below - 1)]);
                }
                ChildTarget::Leaf(leaf) => {
                    // Every row below a leaf goes left.
                    predicates.resize(predicates.len() + (1 << below) - 1, NEVER * 8);
                    values.resize(values.len() + (1 << below), self.ensemble.values[leaf]);
                }
            }
        }
    }

    /// Writes a tree's steps level by level, so that a step rarely waits for the previous one.
    fn push_irregular(&mut self, root: ChildRef) -> Option<()> {
        self.push_leaves(root);
        self.open.push((root, 0));
        while !self.open.is_empty() {
            std::mem::swap(&mut self.level, &mut self.open);
            for (node, from) in self.level.drain(..) {
                if let ChildTarget::Split(split) = node.target() {
                    let predicate = self.lines[split] * 8;
                    let split = &self.ensemble.splits[split];
                    let to = from + self.shapes.leaves(split.left);
                    self.programs.steps.push(PartitionStep {
                        predicate,
                        from: u8::try_from(from).ok()?,
                        to: u8::try_from(to).ok()?,
                    });
                    self.open.extend([(split.left, from), (split.right, to)]);
                }
            }
        }
        Some(())
    }

    /// Appends the leaves from left to right.
    fn push_leaves(&mut self, root: ChildRef) {
        self.open.push((root, 0));
        while let Some((node, _)) = self.open.pop() {
            match node.target() {
                ChildTarget::Split(split) => {
                    let split = &self.ensemble.splits[split];
                    self.open.extend([(split.right, 0), (split.left, 0)]);
                }
                ChildTarget::Leaf(leaf) => self.programs.values.push(self.ensemble.values[leaf]),
            }
        }
    }
}

/// If all splits of each level of a complete tree are equal, keeps one predicate per level. The tree's predicates are in
/// preorder, from `first` to the end. Returns whether they are equal.
fn keep_equal_levels(predicates: &mut Vec<u32>, first: usize, levels: usize) -> bool {
    let mut subtree = &predicates[first..];
    for _ in 0..levels {
        let below = &subtree[1..];
        let (left, right) = below.split_at(below.len() / 2);
        if left != right {
            return false;
        }
        subtree = left;
    }
    // The leftmost path has the first predicate of each level.
    predicates.truncate(first + levels);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The predicates of a complete tree in preorder: the number of its level, in all splits.
    fn by_level(level: u32, levels: u32) -> Vec<u32> {
        match level < levels {
            true => {
                let below = by_level(level + 1, levels);
                [vec![level], below.clone(), below].concat()
            }
            false => Vec::new(),
        }
    }

    #[test]
    fn a_tree_keeps_one_predicate_per_level_if_all_of_a_level_are_equal() {
        for levels in 0..4 {
            let mut predicates = [vec![7], by_level(0, levels)].concat();
            assert!(keep_equal_levels(&mut predicates, 1, levels as usize));
            let expected: Vec<u32> = std::iter::once(7).chain(0..levels).collect();
            assert_eq!(predicates, expected);
        }
    }

    #[test]
    fn a_tree_keeps_its_predicates_if_one_differs() {
        // The first split of a tree has none beside it.
        for other in 1..7 {
            let mut predicates = by_level(0, 3);
            predicates[other] = 9;
            let before = predicates.clone();
            assert!(!keep_equal_levels(&mut predicates, 0, 3));
            assert_eq!(predicates, before);
        }
    }
}
