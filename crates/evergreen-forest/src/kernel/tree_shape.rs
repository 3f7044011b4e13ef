//! Heights and leaf counts of trees.

use crate::ensemble::{ChildRef, ChildTarget, Ensemble};
use crate::number::Real;

/// Returns the levels below each split, including its own.
pub(super) fn heights<T: Real>(ensemble: &Ensemble<T>) -> Vec<u16> {
    let mut heights = vec![0u16; ensemble.splits.len()];
    for (position, split) in ensemble.splits.iter().enumerate().rev() {
        heights[position] = 1 + heights_of(&heights, split.left).max(heights_of(&heights, split.right));
    }
    heights
}

fn heights_of(heights: &[u16], node: ChildRef) -> u16 {
    match node.target() {
        ChildTarget::Split(split) => heights[split],
        ChildTarget::Leaf(_) => 0,
    }
}

/// Returns the levels below a node, including its own.
pub(super) fn height(heights: &[u16], node: ChildRef) -> usize {
    usize::from(heights_of(heights, node))
}

/// Counts the leaves below a node.
pub(super) fn leaves<T: Real>(ensemble: &Ensemble<T>, root: ChildRef) -> usize {
    leaf_depths(ensemble, root).count()
}

/// Yields the depth of each leaf below a node, from left to right.
pub(super) fn leaf_depths<T: Real>(ensemble: &Ensemble<T>, root: ChildRef) -> impl Iterator<Item = usize> {
    let mut open = vec![(root, 0)];
    std::iter::from_fn(move || {
        loop {
            let (node, depth) = open.pop()?;
            match node.target() {
                ChildTarget::Leaf(_) => return Some(depth),
                ChildTarget::Split(split) => {
                    let split = &ensemble.splits[split];
                    open.extend([(split.right, depth + 1), (split.left, depth + 1)]);
                }
            }
        }
    })
}
