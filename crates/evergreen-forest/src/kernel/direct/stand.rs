//! Trees laid out eight abreast.
//!
//! ```text
//! words   of tree 0: unused, thresholds by level, 2^levels exits | of tree 1: …    place p has its children at 2p, 2p + 1
//! slots   of tree 0: unused, slots by level                      | of tree 1: …
//! ```
//! An exit is a leaf by its bits or, in stands of tall or lopsided trees, the position of a *link*: a node whose
//! children lie side by side from `next` on. A leaf leads to itself, so that trees can be walked together without
//! asking who has arrived.

use super::super::super::ensemble::{Child, Ensemble, Target, Tree};
use super::super::super::number::Real;
use super::super::key::Key;
use super::super::shape;
use super::keys::Question;

/// Trees that are walked together.
pub(super) const ABREAST: usize = 8;

/// Levels of the tallest complete tree.
pub(super) const TALLEST: usize = 8;

/// Complete trees may have so many times the leaves of those they stand for.
const PADDING: usize = 4;

/// Up to eight trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) trees: usize,
    /// Position of the first.
    pub(super) first: usize,
    /// Levels that are laid out as complete.
    pub(super) levels: usize,
    /// Where its words and slots begin.
    pub(super) words: usize,
    pub(super) slots: usize,
    /// Exits are links.
    pub(super) linked: bool,
}

/// A node below the complete levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<K> {
    pub(super) threshold: K,
    pub(super) next: u32,
    pub(super) slot: u16,
}

/// All trees.
#[derive(Debug)]
pub(super) struct Stands<T: Real> {
    pub(super) stands: Vec<Stand>,
    pub(super) words: Vec<T::Key>,
    pub(super) slots: Vec<u16>,
    pub(super) links: Vec<Link<T::Key>>,
    /// The leaf at each link.
    pub(super) values: Vec<T>,
    /// The group of each tree.
    pub(super) groups: Vec<u32>,
}

impl<T: Real> Stands<T> {
    /// Lays out a model whose leaves are single constants; `None` if it is too large.
    pub(super) fn new(ensemble: &Ensemble<T>, questions: &[Question<T::Key>]) -> Option<Self> {
        let mut planting = Planting {
            ensemble,
            questions,
            heights: shape::heights(ensemble),
            stands: Self {
                stands: Vec::new(),
                words: Vec::new(),
                slots: Vec::new(),
                links: Vec::new(),
                values: Vec::new(),
                groups: ensemble.trees.iter().map(|tree| tree.group).collect(),
            },
        };
        for (at, trees) in ensemble.trees.chunks(ABREAST).enumerate() {
            planting.stand(at * ABREAST, trees)?;
        }
        let mut stands = planting.stands;
        stands.words.shrink_to_fit();
        stands.slots.shrink_to_fit();
        stands.links.shrink_to_fit();
        stands.values.shrink_to_fit();
        Some(stands)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.stands.as_slice())
            + size_of_val(self.words.as_slice())
            + size_of_val(self.slots.as_slice())
            + size_of_val(self.links.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.groups.as_slice())
    }

    /// How many stands take about so many bytes.
    pub(super) fn within(&self, bytes: usize) -> usize {
        (bytes * self.stands.len() / self.bytes().max(1)).max(1)
    }
}

/// Stands under construction.
struct Planting<'a, T: Real> {
    ensemble: &'a Ensemble<T>,
    questions: &'a [Question<T::Key>],
    heights: Vec<u16>,
    stands: Stands<T>,
}

impl<T: Real> Planting<'_, T> {
    fn stand(&mut self, first: usize, trees: &[Tree]) -> Option<()> {
        let heights = trees.iter().map(|tree| shape::height(&self.heights, tree.root));
        let depth = heights.max()?;
        let leaves = trees.iter().map(|tree| shape::leaves(self.ensemble, tree.root));
        let leaves: usize = leaves.sum();
        let linked = depth > TALLEST || trees.len() << depth > PADDING * leaves;
        let levels = if linked {
            ((leaves / trees.len()).ilog2() as usize).min(TALLEST)
        } else {
            depth
        };
        let stand = Stand {
            trees: trees.len(),
            first,
            levels,
            words: self.stands.words.len(),
            slots: self.stands.slots.len(),
            linked,
        };
        // Nothing is above the most: whoever comes to a place without a split goes left.
        let words = stand.words + (ABREAST << (levels + 1));
        self.stands.words.resize(words, T::Key::MOST);
        let slots = stand.slots + (ABREAST << levels);
        self.stands.slots.resize(slots, 0);
        for lane in 0..ABREAST {
            match trees.get(lane) {
                Some(tree) => self.plant(&stand, lane, tree.root)?,
                None if linked => self.nothing(&stand, lane)?,
                None => {}
            }
        }
        self.stands.stands.push(stand);
        Some(())
    }

    /// Writes a tree.
    fn plant(&mut self, stand: &Stand, lane: usize, root: Child) -> Option<()> {
        let words = stand.words + (lane << (stand.levels + 1));
        let slots = stand.slots + (lane << stand.levels);
        let mut open = vec![(root, 1usize, 0usize)];
        while let Some((node, place, level)) = open.pop() {
            let exit = place << (stand.levels - level);
            match node.target() {
                Target::Split(split) if level < stand.levels => {
                    let Question { slot, threshold } = self.questions[split];
                    self.stands.words[words + place] = threshold;
                    self.stands.slots[slots + place] = slot;
                    let split = &self.ensemble.splits[split];
                    open.push((split.left, 2 * place, level + 1));
                    open.push((split.right, 2 * place + 1, level + 1));
                }
                Target::Leaf(leaf) if !stand.linked => {
                    self.stands.words[words + exit] = self.ensemble.values[leaf].bits();
                }
                _ => {
                    let link = self.link(node)?;
                    self.stands.words[words + exit] = T::Key::of_position(link);
                }
            }
        }
        Some(())
    }

    /// A lane without a tree: its one leaf.
    fn nothing(&mut self, stand: &Stand, lane: usize) -> Option<()> {
        let at = self.leaf(T::ZERO)?;
        let exit = stand.words + (lane << (stand.levels + 1)) + (1 << stand.levels);
        self.stands.words[exit] = T::Key::of_position(at);
        Some(())
    }

    fn leaf(&mut self, value: T) -> Option<u32> {
        let at = u32::try_from(self.stands.links.len()).ok()?;
        self.stands.links.push(Link {
            threshold: T::Key::MOST,
            next: at,
            slot: 0,
        });
        self.stands.values.push(value);
        Some(at)
    }

    /// Writes the links of a subtree and gives the first.
    fn link(&mut self, root: Child) -> Option<u32> {
        let first = self.leaf(T::ZERO)?;
        let mut open = vec![(root, first)];
        while let Some((node, at)) = open.pop() {
            match node.target() {
                Target::Leaf(leaf) => self.stands.values[at as usize] = self.ensemble.values[leaf],
                Target::Split(split) => {
                    let (left, right) = (self.leaf(T::ZERO)?, self.leaf(T::ZERO)?);
                    let Question { slot, threshold } = self.questions[split];
                    self.stands.links[at as usize] = Link {
                        threshold,
                        next: left,
                        slot,
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
