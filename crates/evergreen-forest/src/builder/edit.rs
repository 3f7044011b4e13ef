//! Changes to the trees that a builder holds, for what a file records after or outside its trees.

use super::EnsembleBuilder;
use crate::ensemble::{Ensemble, LinearLeaf};
use crate::number::Real;

impl<T: Real> EnsembleBuilder<T> {
    /// Removes every tree from position `keep` on.
    pub(crate) fn truncate(&mut self, keep: usize) {
        let Some(first) = self.ensemble.trees.get(keep).copied() else {
            return;
        };
        let (splits, leaves) = (first.first_split as usize, first.first_leaf as usize);
        self.ensemble.trees.truncate(keep);
        self.ensemble.splits.truncate(splits);
        self.ensemble.split_cover.truncate(splits);
        self.gains.truncate(splits);
        self.ensemble.leaves.truncate(leaves);
        self.ensemble.leaf_cover.truncate(leaves);
        self.ensemble.linear.truncate(leaves);
        self.ensemble.values.truncate(leaves * self.ensemble.leaf_width);
    }

    /// Sets the output group of a tree.
    pub(crate) fn group(&mut self, tree: usize, group: u32) {
        if let Some(tree) = self.ensemble.trees.get_mut(tree) {
            tree.group = group;
        }
    }

    /// Multiplies a tree's leaves.
    pub(crate) fn scale(&mut self, tree: usize, by: T) {
        let width = self.ensemble.leaf_width;
        let Some(first) = self.ensemble.trees.get(tree).map(|tree| tree.first_leaf as usize) else {
            return;
        };
        let end = self
            .ensemble
            .trees
            .get(tree + 1)
            .map_or(self.ensemble.leaves.len(), |next| next.first_leaf as usize);
        if let Some(values) = self.ensemble.values.get_mut(first * width..end * width) {
            values.iter_mut().for_each(|value| *value = *value * by);
        }
    }

    /// Assigns linear functions to the leaves of the last tree, which begin at position `first`. `functions`
    /// is indexed by the library's leaf numbers; it is empty if there are none.
    pub(crate) fn linear(&mut self, first: usize, functions: Vec<LinearLeaf>) {
        if functions.is_empty() && self.ensemble.linear.is_empty() {
            return;
        }
        let Ensemble { linear, leaves, .. } = &mut self.ensemble;
        linear.resize_with(first, LinearLeaf::default);
        let mut functions = functions;
        for leaf in leaves.iter().skip(first) {
            let function = functions.get_mut(leaf.id as usize).map(std::mem::take);
            linear.push(function.unwrap_or_default());
        }
    }

    /// Records that a tree lacks the training weights of its nodes.
    pub(crate) fn lacks_cover(&mut self) {
        self.lacks_cover = true;
    }

    /// Returns whether every tree so far has the training weights of its nodes.
    pub(crate) fn has_cover(&self) -> bool {
        !self.lacks_cover
    }
}
