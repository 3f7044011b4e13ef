//! The trees as programs over lines of bits.
//!
//! Every tree comes to eight words that spell the number of the leaf that each row reaches, bit by bit. There are
//! three ways to them:
//!
//! ```text
//! same   all splits of a level ask the same: the lines are the bits
//! full   as many splits as a complete tree has, padded with questions that nobody answers with right: the rows
//!        that reach a split part at its line, and those that go right set the level's bit
//! any    the same for trees of any form, split by split, by a list of steps; the leaves' rows then set the bits
//! ```

use super::super::super::ensemble::{Child, Ensemble, Target, Tree};
use super::super::super::number::Real;
use super::asked::NEVER;

/// Leaves that eight bits can number.
pub(super) const LEAVES: usize = 256;

/// The highest complete tree with so many leaves.
const HIGHEST: usize = 8;

/// Trees of one group whose leaves are added together.
pub(super) const TEAM: usize = 8;

/// A complete tree may have so many times the leaves of the tree it stands for: a step costs four times a place.
const PADDING: usize = 4;

/// How a tree's leaf is found; `asks` and `steps` begin at a position of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// One line for each level.
    Same { levels: usize, asks: usize },
    /// A line for each split of a complete tree, each before its children and all on its left before those on its
    /// right.
    Full { levels: usize, asks: usize },
    /// Steps, and how many leaves they lead to.
    Any { steps: usize, end: usize, leaves: usize },
}

/// Rows part at a split: those at `from` that go right go on to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) ask: u32,
    pub(super) from: u8,
    pub(super) to: u8,
}

/// A tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planted {
    pub(super) form: Form,
    /// The first of its leaves.
    pub(super) leaves: usize,
}

/// All trees, group by group, each group's in the order in which their leaves are added.
#[derive(Debug)]
pub(super) struct Grove<T> {
    pub(super) trees: Vec<Planted>,
    /// Groups in order, and where the trees of each end.
    pub(super) groups: Vec<(usize, usize)>,
    /// Offsets of lines of eight bytes; longer lines are so many times farther.
    pub(super) asks: Vec<u32>,
    pub(super) steps: Vec<Step>,
    pub(super) values: Vec<T>,
}

impl<T: Real> Grove<T> {
    /// Lays out trees whose splits ask these lines; `None` if one has more leaves than can be numbered.
    pub(super) fn new(ensemble: &Ensemble<T>, lines: &[u32]) -> Option<Self> {
        let mut grove = Self {
            trees: Vec::with_capacity(ensemble.trees.len()),
            groups: Vec::new(),
            asks: Vec::new(),
            steps: Vec::new(),
            values: Vec::new(),
        };
        let mut trees: Vec<&Tree> = ensemble.trees.iter().collect();
        trees.sort_by_key(|tree| tree.group);
        for trees in trees.chunk_by(|a, b| a.group == b.group) {
            for tree in trees {
                grove.plant(ensemble, lines, tree.root)?;
            }
            grove
                .groups
                .push((trees.first()?.group as usize, grove.trees.len()));
        }
        Some(grove)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.trees.as_slice())
            + size_of_val(self.asks.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.values.as_slice())
    }

    fn plant(&mut self, ensemble: &Ensemble<T>, lines: &[u32], root: Child) -> Option<()> {
        let (height, count) = measure(ensemble, root);
        let leaves = self.values.len();
        let form = if height <= HIGHEST && 1 << height <= PADDING * count {
            let asks = self.asks.len();
            self.full(ensemble, lines, root, height);
            match same(&self.asks[asks..], height) {
                Some(levels) if 1 << height == count => {
                    self.asks.truncate(asks);
                    self.asks.extend(levels);
                    Form::Same { levels: height, asks }
                }
                _ => Form::Full { levels: height, asks },
            }
        } else if count <= LEAVES {
            let steps = self.steps.len();
            self.any(ensemble, lines, root)?;
            Form::Any {
                steps,
                end: self.steps.len(),
                leaves: count,
            }
        } else {
            return None;
        };
        self.trees.push(Planted { form, leaves });
        Some(())
    }

    /// Writes a complete tree, leaves and questions from left to right.
    fn full(&mut self, ensemble: &Ensemble<T>, lines: &[u32], root: Child, height: usize) {
        let mut open = vec![(root, height)];
        while let Some((node, below)) = open.pop() {
            match node.target() {
                Target::Split(split) => {
                    self.asks.push(lines[split] * 8);
                    let split = &ensemble.splits[split];
                    open.push((split.right, below - 1));
                    open.push((split.left, below - 1));
                }
                Target::Leaf(leaf) => {
                    // Every row that comes here goes on to the left.
                    self.asks.resize(self.asks.len() + (1 << below) - 1, NEVER * 8);
                    let value = ensemble.values[leaf];
                    self.values.resize(self.values.len() + (1 << below), value);
                }
            }
        }
    }

    /// Writes a tree's steps, level by level, so that one seldom waits for the one before.
    fn any(&mut self, ensemble: &Ensemble<T>, lines: &[u32], root: Child) -> Option<()> {
        let mut level = vec![(root, 0)];
        let first = self.values.len();
        self.leaves(ensemble, root);
        while !level.is_empty() {
            let mut next = Vec::new();
            for (node, from) in level {
                if let Target::Split(split) = node.target() {
                    let ask = lines[split] * 8;
                    let split = &ensemble.splits[split];
                    let to = from + measure(ensemble, split.left).1;
                    self.steps.push(Step {
                        ask,
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
    fn leaves(&mut self, ensemble: &Ensemble<T>, root: Child) {
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            match node.target() {
                Target::Split(split) => {
                    let split = &ensemble.splits[split];
                    open.extend([split.right, split.left]);
                }
                Target::Leaf(leaf) => self.values.push(ensemble.values[leaf]),
            }
        }
    }
}

/// Levels and leaves below a node.
fn measure<T: Real>(ensemble: &Ensemble<T>, root: Child) -> (usize, usize) {
    let (mut height, mut leaves) = (0, 0);
    let mut open = vec![(root, 0)];
    while let Some((node, depth)) = open.pop() {
        match node.target() {
            Target::Split(split) => {
                let split = &ensemble.splits[split];
                open.extend([(split.left, depth + 1), (split.right, depth + 1)]);
            }
            Target::Leaf(_) => {
                height = height.max(depth);
                leaves += 1;
            }
        }
    }
    (height, leaves)
}

/// The questions of the levels, if all splits of a level ask the same.
fn same(asks: &[u32], levels: usize) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let mut subtrees = vec![asks];
    for _ in 0..levels {
        let mut next = Vec::new();
        let first = *subtrees.first()?.first()?;
        for subtree in subtrees {
            let (ask, below) = subtree.split_first()?;
            if *ask != first {
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
