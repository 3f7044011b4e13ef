//! Unbalanced trees, evaluated split by split.

use crate::ensemble::{ChildRef, ChildTarget, Tree};
use crate::kernel::KernelFloat;
use crate::kernel::binned::tree_block::{
    LANES, LayoutBuilder, PredicateLine, PreorderStep, Subtrees, UpperLevels,
};
use crate::kernel::predicate::BinPredicate;

impl<T: KernelFloat> LayoutBuilder<'_, T> {
    /// Returns the number of preorder steps if they cost less than upper levels and sparse subtrees. `exits` are those of
    /// all trees.
    pub(super) fn preorder_steps(
        &self,
        trees: &[Tree],
        exits: &[Option<ChildRef>],
        levels: usize,
    ) -> Option<usize> {
        let leaves = |tree: &Tree| self.shapes.leaves(tree.root);
        let most = trees.iter().map(leaves).max()?;
        if most > 256 || !self.columns.fits_byte() {
            return None;
        }
        // The average levels between the exits and the leaves.
        let below = |exit: &ChildRef| self.shapes.below(*exit).depths as usize;
        let below = |exits: &[Option<ChildRef>]| exits.iter().flatten().map(below).sum::<usize>();
        let of_trees = trees.iter().zip(exits.chunks_exact(1 << levels));
        let below: usize = of_trees.map(|(tree, exits)| below(exits) / leaves(tree)).sum();
        // Instructions counted with callgrind. A sparse node costs a dozen, and the time of sixty.
        let by_level = 6 * (1 << levels) + 12 * trees.len() + 60 * below;
        let steps = most - 1;
        // Each table of sixteen bins costs a shuffle and a blend.
        let tables = self.columns.used.div_ceil(16).next_power_of_two();
        ((8 + 2 * tables) * steps < by_level).then_some(steps)
    }

    pub(super) fn push_preorder(&mut self, trees: &[Tree], steps: usize) -> Option<()> {
        let first = self.blocks.steps.len();
        // Padding: no row goes right.
        let nothing = PreorderStep {
            predicates: PredicateLine::ALWAYS_LEFT,
            from: [0; LANES],
            to: [0; LANES],
        };
        self.blocks.steps.resize(first + steps, nothing);
        let levels = (steps + 1).next_power_of_two().ilog2() as usize;
        let mut exits = vec![None; trees.len() << levels];
        for (lane, tree) in trees.iter().enumerate() {
            let exits = &mut exits[lane << levels..][..1 << levels];
            let (mut step, mut leaf) = (first, 0usize);
            let mut open = vec![(tree.root, None)];
            while let Some((node, parent)) = open.pop() {
                // The right child's leftmost leaf follows the left child's last leaf.
                if let Some(parent) = parent {
                    let parent: &mut PreorderStep = &mut self.blocks.steps[parent];
                    parent.to[lane] = u8::try_from(leaf).ok()?;
                }
                match node.target() {
                    ChildTarget::Split(split) => {
                        let BinPredicate { column, bin } = self.columns.predicates[split];
                        let here = &mut self.blocks.steps[step];
                        here.predicates.columns[lane] = u8::try_from(column).ok()?;
                        here.predicates.bins[lane] = bin;
                        here.from[lane] = u8::try_from(leaf).ok()?;
                        let split = &self.ensemble.splits[split];
                        open.push((split.right, Some(step)));
                        open.push((split.left, None));
                        step += 1;
                    }
                    ChildTarget::Leaf(_) => {
                        exits[leaf] = Some(node);
                        leaf += 1;
                    }
                }
            }
        }
        let subtrees = Subtrees::Complete { height: 0 };
        self.finish_block(
            trees,
            levels,
            UpperLevels::Preorder { first, steps },
            subtrees,
            &exits,
        )
    }
}
