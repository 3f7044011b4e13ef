//! Lopsided trees, split by split.

use super::super::super::ensemble::{Target, Tree};
use super::super::super::number::Real;
use super::super::ask::Ask;
use super::super::shape;
use super::{LANES, Line, Planting, Step, Tail, Top};

impl<T: Real> Planting<'_, T> {
    /// The steps of these trees in preorder, if that is quicker than levels and links after them.
    pub(super) fn preorder(&self, trees: &[Tree], levels: usize) -> Option<usize> {
        let depths = |tree: &Tree| shape::leaf_depths(self.ensemble, tree.root);
        let most = trees.iter().map(|tree| depths(tree).count()).max()?;
        if most > 256 || !self.slots.all_in_reach() {
            return None;
        }
        // Levels that a leaf lies below the top, on average.
        let below = |tree: &Tree| {
            let below = depths(tree).map(|depth| depth.saturating_sub(levels));
            below.sum::<usize>() / depths(tree).count()
        };
        let below: usize = trees.iter().map(below).sum();
        // Instructions, by callgrind; a link takes a dozen, and the time of sixty.
        let by_level = 6 * (1 << levels) + 12 * trees.len() + 60 * below;
        let steps = most - 1;
        // Sixteen slots to a table, a shuffle and a blend for each.
        let tables = self.slots.asked.div_ceil(16).next_power_of_two();
        ((8 + 2 * tables) * steps < by_level).then_some(steps)
    }

    pub(super) fn in_preorder(&mut self, trees: &[Tree], steps: usize) -> Option<()> {
        let first = self.stands.steps.len();
        // Nobody goes right at what is not there.
        let nothing = Step {
            asked: Line::LEFT,
            from: [0; LANES],
            to: [0; LANES],
        };
        self.stands.steps.resize(first + steps, nothing);
        let levels = (steps + 1).next_power_of_two().ilog2() as usize;
        let mut exits = vec![None; trees.len() << levels];
        for (lane, tree) in trees.iter().enumerate() {
            let exits = &mut exits[lane << levels..][..1 << levels];
            let (mut step, mut leaf) = (first, 0usize);
            let mut open = vec![(tree.root, None)];
            while let Some((node, parent)) = open.pop() {
                // The right child's leftmost leaf is the first that comes after the left one's.
                if let Some(parent) = parent {
                    let parent: &mut Step = &mut self.stands.steps[parent];
                    parent.to[lane] = u8::try_from(leaf).ok()?;
                }
                match node.target() {
                    Target::Split(split) => {
                        let Ask { slot, rank } = self.slots.asks[split];
                        let here = &mut self.stands.steps[step];
                        here.asked.slots[lane] = u8::try_from(slot).ok()?;
                        here.asked.ranks[lane] = rank;
                        here.from[lane] = u8::try_from(leaf).ok()?;
                        let split = &self.ensemble.splits[split];
                        open.push((split.right, Some(step)));
                        open.push((split.left, None));
                        step += 1;
                    }
                    Target::Leaf(_) => {
                        exits[leaf] = Some(node);
                        leaf += 1;
                    }
                }
            }
        }
        let tail = Tail::Blocks { height: 0 };
        self.finish(trees, levels, Top::Preorder { first, steps }, tail, &exits)
    }
}
