//! The trees below the tops: blocks, or links.

use super::super::super::ensemble::{Child, Target};
use super::super::super::number::Real;
use super::super::ask::Ask;
use super::super::shape;
use super::{Link, Planting, Tail, words};

/// The tallest block.
const TALLEST: usize = 8;

/// Blocks may take so many times the space of links.
const PADDING: usize = 2;

impl<T: Real> Planting<'_, T> {
    /// Blocks, if the padding is bearable.
    pub(super) fn form(&self, exits: &[Option<Child>], height: usize) -> Tail {
        if height > TALLEST {
            return Tail::Links;
        }
        let leaf = size_of::<T>() / 4;
        let words = words::<T>(height);
        let mut links = 0;
        for exit in exits.iter().flatten() {
            let nodes = 2 * shape::leaves(self.ensemble, *exit) - 1;
            links += 1 + nodes * (2 + leaf);
        }
        if height > 0 && exits.len() * words > PADDING * links {
            return Tail::Links;
        }
        Tail::Blocks { height }
    }

    pub(super) fn tails(&mut self, exits: &[Option<Child>], tail: Tail) -> Option<()> {
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
                    // Exits below one leaf are alike.
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
                    self.words[from + place] = word(self.slots.asks[split]);
                    let split = &self.ensemble.splits[split];
                    open.push((split.left, 2 * place + 1, below - 1));
                    open.push((split.right, 2 * place + 2, below - 1));
                }
                Target::Leaf(leaf) => {
                    // What is below a leaf goes left.
                    let at = ((place + 1) << below) - 1 - inner;
                    let width = size_of::<T>() / 4;
                    let into = &mut self.words[from + inner + at * width..][..width];
                    self.ensemble.values[leaf].write(into);
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
            let Ask { slot, rank } = self.slots.asks[split];
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

/// A question in a word: the slot, then the rank.
fn word(ask: Ask) -> u32 {
    u32::from(ask.slot) | u32::from(ask.rank) << 16
}
