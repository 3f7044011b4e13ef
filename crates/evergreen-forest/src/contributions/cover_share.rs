//! The share of the training weight that goes left at each split, and the mean of a tree.

use std::ops::Range;

use crate::ensemble::{ChildRef, ChildTarget, Ensemble};
use crate::number::Real;

/// For each split the share of its training weight that goes left, between 0 and 1.
#[derive(Debug)]
pub(crate) struct CoverShares {
    left: Vec<f64>,
}

impl CoverShares {
    /// Computes the shares from the covers of the children. They are normalised, because covers that a file holds
    /// as `f32` do not add up. A split without any weight is divided into halves, as by XGBoost from 3.3 on.
    pub(crate) fn new<T: Real>(ensemble: &Ensemble<T>) -> Self {
        let shares = ensemble.splits.iter().map(|split| {
            let (left, right) = (cover(ensemble, split.left), cover(ensemble, split.right));
            let share = left / (left + right);
            if share.is_finite() { share } else { 0.5 }
        });
        Self {
            left: shares.collect(),
        }
    }

    /// Returns the share that goes left at a split.
    pub(super) fn left(&self, split: usize) -> f64 {
        self.left[split]
    }

    /// Returns the mean of an output of a tree over the training rows; `output` is below the width of the leaves.
    pub(crate) fn mean<T: Real>(&self, ensemble: &Ensemble<T>, tree: usize, output: usize) -> f64 {
        let splits = splits_of(ensemble, tree);
        let mut means = vec![0.0; splits.len()];
        // Children come after their parents.
        for position in splits.clone().rev() {
            let split = &ensemble.splits[position];
            let mean = |child: ChildRef| match child.target() {
                ChildTarget::Split(child) => means[child - splits.start],
                ChildTarget::Leaf(leaf) => leaf_value(ensemble, leaf, output),
            };
            let share = self.left(position);
            means[position - splits.start] = share * mean(split.left) + (1.0 - share) * mean(split.right);
        }
        match ensemble.trees[tree].root.target() {
            ChildTarget::Split(root) => means[root - splits.start],
            ChildTarget::Leaf(leaf) => leaf_value(ensemble, leaf, output),
        }
    }
}

/// Returns the positions of a tree's splits.
pub(super) fn splits_of<T: Real>(ensemble: &Ensemble<T>, tree: usize) -> Range<usize> {
    let end = ensemble
        .trees
        .get(tree + 1)
        .map_or(ensemble.splits.len(), |next| next.first_split as usize);
    ensemble.trees[tree].first_split as usize..end
}

/// Returns one number of a leaf.
pub(crate) fn leaf_value<T: Real>(ensemble: &Ensemble<T>, leaf: usize, output: usize) -> f64 {
    ensemble.values[leaf * ensemble.leaf_width + output].to_f64()
}

/// Returns the training weight that reached a node. Negative weights, which custom objectives may have, count as
/// none.
fn cover<T: Real>(ensemble: &Ensemble<T>, child: ChildRef) -> f64 {
    let cover = match child.target() {
        ChildTarget::Split(position) => ensemble.split_cover.get(position),
        ChildTarget::Leaf(leaf) => ensemble.leaf_cover.get(leaf),
    };
    cover.map_or(0.0, |cover| cover.to_f64().max(0.0))
}
