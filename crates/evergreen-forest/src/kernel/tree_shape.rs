//! Heights and leaves of all subtrees of a forest.

use crate::ensemble::{ChildRef, ChildTarget, Ensemble};
use crate::number::Real;

/// What is below a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SubtreeShape {
    /// Levels of splits, including its own.
    pub(super) height: u16,
    pub(super) leaves: u32,
    /// The sum of the depths of the leaves, counted from this node.
    pub(super) depths: u64,
}

/// The shapes of all subtrees of a forest.
#[derive(Debug)]
pub(super) struct TreeShapes(Vec<SubtreeShape>);

impl TreeShapes {
    /// Visits every split once: children come after their parents.
    pub(super) fn of<T: Real>(ensemble: &Ensemble<T>) -> Self {
        let mut shapes = Self(vec![SubtreeShape::default(); ensemble.splits.len()]);
        for (position, split) in ensemble.splits.iter().enumerate().rev() {
            let (left, right) = (shapes.below(split.left), shapes.below(split.right));
            let leaves = left.leaves + right.leaves;
            shapes.0[position] = SubtreeShape {
                height: 1 + left.height.max(right.height),
                leaves,
                depths: left.depths + right.depths + u64::from(leaves),
            };
        }
        shapes
    }

    /// Returns the shape of the subtree of a node.
    pub(super) fn below(&self, node: ChildRef) -> SubtreeShape {
        match node.target() {
            ChildTarget::Split(split) => self.0[split],
            ChildTarget::Leaf(_) => SubtreeShape {
                height: 0,
                leaves: 1,
                depths: 0,
            },
        }
    }

    /// Returns the levels below a node, including its own.
    pub(super) fn height(&self, node: ChildRef) -> usize {
        usize::from(self.below(node).height)
    }

    /// Counts the leaves below a node.
    pub(super) fn leaves(&self, node: ChildRef) -> usize {
        self.below(node).leaves as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::random_forest::{ForestShape, forest};
    use crate::kernel::tests::PLAIN;
    use crate::random_source::RandomSource;

    /// The depth of each leaf below a node.
    fn depths(ensemble: &Ensemble<f32>, node: ChildRef) -> Vec<usize> {
        let ChildTarget::Split(split) = node.target() else {
            return vec![0];
        };
        let split = &ensemble.splits[split];
        let below = [split.left, split.right].map(|child| depths(ensemble, child));
        below.concat().iter().map(|depth| depth + 1).collect()
    }

    #[test]
    fn shapes_are_those_of_the_leaves_below() {
        for (seed, chain) in [(1, false), (2, false), (3, true)] {
            let mut random = RandomSource(seed);
            let mut choose = |end| random.below(end);
            let shape = ForestShape {
                chain,
                leaves: 50,
                depth: 40,
                ..PLAIN
            };
            let ensemble = forest::<f32>(&mut choose, &shape);
            let shapes = TreeShapes::of(&ensemble);
            let children = ensemble.splits.iter().flat_map(|split| [split.left, split.right]);
            for node in children.chain(ensemble.trees.iter().map(|tree| tree.root)) {
                let depths = depths(&ensemble, node);
                let expected = SubtreeShape {
                    height: u16::try_from(*depths.iter().max().unwrap()).unwrap(),
                    leaves: u32::try_from(depths.len()).unwrap(),
                    depths: depths.iter().sum::<usize>() as u64,
                };
                assert_eq!(shapes.below(node), expected);
            }
        }
    }
}
