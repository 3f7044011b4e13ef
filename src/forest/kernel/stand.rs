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
//! lead to themselves, so that several trees can be walked together without asking who has arrived.

use super::super::ensemble::{Child, Ensemble, Target, Tree};
use super::super::number::Real;
use super::ask::Ask;
use super::slots::Slots;

/// Trees in a stand.
pub(super) const LANES: usize = 32;

/// Trees whose links are walked together; stands have room for a multiple of it.
pub(super) const ABREAST: usize = 8;

/// The tallest block.
const TALLEST: usize = 8;

/// Blocks may take so many times the space of links.
const PADDING: usize = 2;

/// The questions of one place in a stand's trees.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line {
    pub(super) slots: [u8; LANES],
    pub(super) ranks: [u8; LANES],
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
    pub(super) levels: usize,
    /// Its first line.
    pub(super) top: usize,
    /// The first word of its tails.
    pub(super) tails: usize,
    pub(super) tail: Tail,
}

/// All trees of a model.
#[derive(Debug)]
pub(super) struct Stands<T> {
    pub(super) stands: Vec<Stand>,
    pub(super) lines: Vec<Line>,
    pub(super) words: Vec<Words>,
    pub(super) links: Vec<Link>,
    /// The leaf at each link.
    pub(super) values: Vec<T>,
    /// The group of each tree.
    pub(super) groups: Vec<u32>,
}

impl<T: Real> Stands<T> {
    /// Lays out a model whose leaves are single constants; `None` if they are not, or if it is too large.
    pub(super) fn new(ensemble: &Ensemble<T>, slots: &Slots) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let mut planting = Planting {
            ensemble,
            asks: &slots.asks,
            heights: heights(ensemble),
            words: Vec::new(),
            stands: Self {
                stands: Vec::new(),
                lines: Vec::new(),
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
            + size_of_val(self.words.as_slice())
            + size_of_val(self.links.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.groups.as_slice())
    }
}

/// Levels below each split, its own included.
fn heights<T: Real>(ensemble: &Ensemble<T>) -> Vec<u16> {
    let mut heights = vec![0u16; ensemble.splits.len()];
    for (position, split) in ensemble.splits.iter().enumerate().rev() {
        let below = |child: Child| match child.target() {
            Target::Split(split) => heights[split],
            Target::Leaf(_) => 0,
        };
        heights[position] = 1 + below(split.left).max(below(split.right));
    }
    heights
}

/// Stands under construction.
struct Planting<'a, T> {
    ensemble: &'a Ensemble<T>,
    asks: &'a [Ask],
    heights: Vec<u16>,
    words: Vec<u32>,
    stands: Stands<T>,
}

impl<T: Real> Planting<'_, T> {
    fn height(&self, node: Child) -> usize {
        match node.target() {
            Target::Split(split) => usize::from(self.heights[split]),
            Target::Leaf(_) => 0,
        }
    }

    fn stand(&mut self, trees: &[Tree], levels: usize) -> Option<()> {
        let depth = trees.iter().map(|tree| self.height(tree.root)).max()?;
        let levels = levels.min(depth);
        let top = self.stands.lines.len();
        let places = (1 << levels) - 1;
        self.stands.lines.resize(
            top + places,
            Line {
                slots: [0; LANES],
                ranks: [Ask::LEFT.rank; LANES],
            },
        );
        let mut exits = Vec::new();
        for lane in 0..trees.len().next_multiple_of(ABREAST) {
            let root = trees.get(lane).map(|tree| tree.root);
            let from = exits.len();
            exits.resize(from + (1 << levels), root);
            if let Some(root) = root {
                self.top(root, top, lane, levels, &mut exits[from..]);
            }
        }
        let tail = self.form(&exits, depth - levels);
        self.words.resize(self.words.len().next_multiple_of(16), 0);
        let tails = self.words.len();
        self.tails(&exits, tail)?;
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
                    line.slots[lane] = self.asks[split].slot.to_le_bytes()[0];
                    line.ranks[lane] = self.asks[split].rank;
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

    /// Blocks, if the padding is bearable.
    fn form(&self, exits: &[Option<Child>], height: usize) -> Tail {
        if height > TALLEST {
            return Tail::Links;
        }
        let leaf = size_of::<T>() / 4;
        let words = words::<T>(height);
        let mut links = 0;
        for exit in exits.iter().flatten() {
            links += 1 + self.size(*exit) * (2 + leaf);
        }
        if height > 0 && exits.len() * words > PADDING * links {
            return Tail::Links;
        }
        Tail::Blocks { height }
    }

    /// Nodes from here on.
    fn size(&self, node: Child) -> usize {
        let mut open = vec![node];
        let mut size = 0;
        while let Some(node) = open.pop() {
            size += 1;
            if let Target::Split(split) = node.target() {
                let split = &self.ensemble.splits[split];
                open.extend([split.left, split.right]);
            }
        }
        size
    }

    fn tails(&mut self, exits: &[Option<Child>], tail: Tail) -> Option<()> {
        match tail {
            Tail::Blocks { height } => {
                let words = words::<T>(height);
                for exit in exits {
                    let from = self.words.len();
                    self.words.resize(from + words, 0);
                    self.block(*exit, from, height);
                }
            }
            Tail::Links => {
                let mut last = None;
                for exit in exits {
                    // Exits below one leaf are alike, and so are those of lanes without a tree.
                    let link = match last {
                        Some((same, link)) if same == *exit => link,
                        _ => self.link(*exit)?,
                    };
                    last = Some((*exit, link));
                    self.words.push(link);
                }
            }
        }
        Some(())
    }

    /// Writes a complete tree and its leaves from a word on.
    fn block(&mut self, root: Option<Child>, from: usize, height: usize) {
        let inner = (1usize << height) - 1;
        for place in 0..inner {
            self.words[from + place] = word(Ask::LEFT);
        }
        let Some(root) = root else { return };
        let mut open = vec![(root, 0usize, height)];
        while let Some((node, place, below)) = open.pop() {
            match node.target() {
                Target::Split(split) => {
                    self.words[from + place] = word(self.asks[split]);
                    let split = &self.ensemble.splits[split];
                    open.push((split.left, 2 * place + 1, below - 1));
                    open.push((split.right, 2 * place + 2, below - 1));
                }
                Target::Leaf(leaf) => {
                    // What is below a leaf goes left.
                    let at = ((place + 1) << below) - 1 - inner;
                    let value = self.ensemble.values[leaf].words();
                    let width = size_of::<T>() / 4;
                    self.words[from + inner + at * width..][..width].copy_from_slice(&value[..width]);
                }
            }
        }
    }

    /// Writes the links of a subtree and gives the first.
    fn link(&mut self, root: Option<Child>) -> Option<u32> {
        let first = self.stands.links.len();
        self.space(1);
        let mut open: Vec<(Option<Child>, usize)> = vec![(root, first)];
        while let Some((node, at)) = open.pop() {
            let split = match node.map(Child::target) {
                Some(Target::Split(split)) => split,
                leaf => {
                    if let Some(Target::Leaf(leaf)) = leaf {
                        self.stands.values[at] = self.ensemble.values[leaf];
                    }
                    self.stands.links[at].next = u32::try_from(at).ok()?;
                    continue;
                }
            };
            let next = self.stands.links.len();
            self.space(2);
            let Ask { slot, rank } = self.asks[split];
            self.stands.links[at] = Link {
                next: u32::try_from(next).ok()?,
                slot,
                rank,
            };
            let split = &self.ensemble.splits[split];
            open.push((Some(split.right), next + 1));
            open.push((Some(split.left), next));
        }
        u32::try_from(first).ok()
    }

    fn space(&mut self, links: usize) {
        let Ask { slot, rank } = Ask::LEFT;
        let len = self.stands.links.len() + links;
        self.stands.links.resize(len, Link { next: 0, slot, rank });
        self.stands.values.resize(len, T::ZERO);
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

/// A question in a word: the slot, then the rank.
fn word(ask: Ask) -> u32 {
    u32::from(ask.slot) | u32::from(ask.rank) << 16
}
