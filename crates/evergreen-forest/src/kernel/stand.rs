//! The trees, laid out to be walked thirty-two at a time.
//!
//! A *stand* is up to 32 consecutive trees. Their first levels are its *top*: complete, level by level, with the
//! questions of the 32 trees at one place side by side, so that a vector instruction decides for all of them.
//! Below the top each tree has one *tail* for each of its 2^levels exits.
//!
//! ```text
//! top    line of place 0 (roots) | places 1, 2 | places 3..=6 | …    a line: 32 slots, then 32 ranks
//! tails  of tree 0: exit 0, exit 1, … | of tree 1: …                 blocks, or entries into the links
//! ```
//! A tail is a *block*: a small complete tree and its leaves in one piece, in as few cache lines as possible; or,
//! where trees are deep or lopsided, an entry into *links*: nodes with both children side by side and leaves that
//! lead to themselves. Lopsided trees of up to 256 leaves have neither: see [`Top::Preorder`].

mod preorder;
mod tails;

use super::super::ensemble::{Child, Ensemble, Target, Tree};
use super::super::number::Real;
use super::ask::Ask;
use super::shape;
use super::slots::Slots;

/// Trees in a stand.
pub(super) const LANES: usize = 32;

/// The questions of one place in a stand's trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line {
    pub(super) slots: [u8; LANES],
    pub(super) ranks: [u8; LANES],
}

/// One split of each of a stand's trees, in the order of [`Top::Preorder`]: who stands at `from` and goes right goes on
/// to `to`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Step {
    pub(super) asked: Line,
    pub(super) from: [u8; LANES],
    pub(super) to: [u8; LANES],
}

/// Sixteen words that begin at a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Words(pub(super) [u32; 16]);

/// A node of a tail: both children of a split are side by side from `next` on; a leaf leads to itself.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Link {
    pub(super) next: u32,
    pub(super) slot: u16,
    pub(super) rank: u8,
}

/// How the exits of a stand's trees are found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Top {
    /// Level by level, from this line on.
    Levels { first: usize },
    /// Level by level, from this line on, where all splits of a level ask the same (symmetric trees): one line each.
    Same { first: usize },
    /// Split by split, from this step on: for lopsided trees. A row stands at the leftmost leaf that it may still
    /// reach; parents come before children, and what is below a left child before what is below the right one. So a
    /// split is on the row's way if the row stands at the leftmost leaf below it.
    Preorder { first: usize, steps: usize },
}

/// How a stand's trees go on below the top.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tail {
    /// Blocks of so many levels.
    Blocks { height: usize },
    /// One word for each exit: its link.
    Links,
}

/// Up to 32 trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) trees: usize,
    /// Each tree has `2^levels` exits.
    pub(super) levels: usize,
    pub(super) top: Top,
    /// The first word of its tails.
    pub(super) tails: usize,
    pub(super) tail: Tail,
}

/// All trees of a model.
#[derive(Debug)]
pub(super) struct Stands<T> {
    pub(super) stands: Vec<Stand>,
    pub(super) lines: Vec<Line>,
    pub(super) steps: Vec<Step>,
    pub(super) words: Vec<Words>,
    pub(super) links: Vec<Link>,
    /// The leaf at each link.
    pub(super) values: Vec<T>,
    /// The group of each tree.
    pub(super) groups: Vec<u32>,
}

impl Line {
    /// Everybody goes left.
    const LEFT: Self = Self {
        slots: [0; LANES],
        ranks: [Ask::LEFT.rank; LANES],
    };
}

impl<T: Real> Stands<T> {
    /// Lays out a model whose leaves are single constants; `None` if they are not, or if it is too large.
    pub(super) fn new(ensemble: &Ensemble<T>, slots: &Slots) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let mut planting = Planting {
            ensemble,
            slots,
            heights: shape::heights(ensemble),
            words: Vec::new(),
            stands: Self {
                stands: Vec::new(),
                lines: Vec::new(),
                steps: Vec::new(),
                words: Vec::new(),
                links: Vec::new(),
                values: Vec::new(),
                groups: ensemble.trees.iter().map(|tree| tree.group).collect(),
            },
        };
        for trees in ensemble.trees.chunks(LANES) {
            planting.stand(trees, slots.levels)?;
        }
        let Planting {
            mut stands, words, ..
        } = planting;
        stands.lines.shrink_to_fit();
        stands.steps.shrink_to_fit();
        stands.links.shrink_to_fit();
        stands.values.shrink_to_fit();
        stands.words = words
            .chunks(16)
            .map(|chunk| {
                let mut words = Words([0; 16]);
                words.0[..chunk.len()].copy_from_slice(chunk);
                words
            })
            .collect();
        Some(stands)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.stands.as_slice())
            + size_of_val(self.lines.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.words.as_slice())
            + size_of_val(self.links.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.groups.as_slice())
    }
}

/// Stands under construction.
struct Planting<'a, T> {
    ensemble: &'a Ensemble<T>,
    slots: &'a Slots,
    heights: Vec<u16>,
    words: Vec<u32>,
    stands: Stands<T>,
}

impl<T: Real> Planting<'_, T> {
    fn height(&self, node: Child) -> usize {
        shape::height(&self.heights, node)
    }

    fn stand(&mut self, trees: &[Tree], levels: usize) -> Option<()> {
        let depth = trees.iter().map(|tree| self.height(tree.root)).max()?;
        let levels = levels.min(depth);
        let top = self.stands.lines.len();
        let places = (1 << levels) - 1;
        self.stands.lines.resize(top + places, Line::LEFT);
        let mut exits = vec![None; trees.len() << levels];
        for (lane, (tree, exits)) in trees.iter().zip(exits.chunks_exact_mut(1 << levels)).enumerate() {
            self.top(tree.root, top, lane, levels, exits);
        }
        let tail = self.form(&exits, depth - levels);
        if let (Tail::Links, Some(steps)) = (tail, self.preorder(trees, levels)) {
            self.stands.lines.truncate(top);
            return self.in_preorder(trees, steps);
        }
        let top = self.same(top, levels).unwrap_or(Top::Levels { first: top });
        self.finish(trees, levels, top, tail, &exits)
    }

    /// Leaves one line for each level if the others are the same.
    fn same(&mut self, first: usize, levels: usize) -> Option<Top> {
        let level = |level: usize| first + (1 << level) - 1..first + (2 << level) - 1;
        let lines = &mut self.stands.lines;
        let same = |lines: &[Line]| lines.iter().all(|line| *line == lines[0]);
        if !(0..levels).all(|at| same(&lines[level(at)])) {
            return None;
        }
        for at in 0..levels {
            lines[first + at] = lines[level(at).start];
        }
        lines.truncate(first + levels);
        Some(Top::Same { first })
    }

    fn finish(
        &mut self,
        trees: &[Tree],
        levels: usize,
        top: Top,
        tail: Tail,
        exits: &[Option<Child>],
    ) -> Option<()> {
        self.words.resize(self.words.len().next_multiple_of(16), 0);
        let tails = self.words.len();
        self.tails(exits, tail)?;
        self.stands.stands.push(Stand {
            trees: trees.len(),
            levels,
            top,
            tails,
            tail,
        });
        Some(())
    }

    /// Writes one tree's questions into its lane and finds its exits.
    fn top(&mut self, root: Child, top: usize, lane: usize, levels: usize, exits: &mut [Option<Child>]) {
        let mut open = vec![(root, 0, 0)];
        while let Some((node, place, level)) = open.pop() {
            match node.target() {
                Target::Split(split) if level < levels => {
                    let line = &mut self.stands.lines[top + place];
                    // The levels of the top ask only slots that a byte can name.
                    line.slots[lane] = self.slots.asks[split].slot.to_le_bytes()[0];
                    line.ranks[lane] = self.slots.asks[split].rank;
                    let split = &self.ensemble.splits[split];
                    open.push((split.left, 2 * place + 1, level + 1));
                    open.push((split.right, 2 * place + 2, level + 1));
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

/// Words of a block of so many levels.
#[inline(always)]
pub(super) const fn words<T>(height: usize) -> usize {
    let leaf = size_of::<T>() / 4;
    let words = (1 << height) - 1 + (leaf << height);
    // A word more, and no block lies across a line of the cache.
    if words % 4 == 3 { words + 1 } else { words }
}
