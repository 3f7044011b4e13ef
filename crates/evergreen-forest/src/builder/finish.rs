//! The last step of a build: checks across trees, and statistics.

use super::EnsembleBuilder;
use crate::ensemble::{Ensemble, MarginRule, SplitTest};
use crate::number::Real;

/// What is known about a model only after all its trees.
#[derive(Debug)]
pub(crate) struct EnsembleSettings<T> {
    /// Inputs per row.
    pub(crate) features: usize,
    /// Margins per row.
    pub(crate) groups: usize,
    /// The initial value of each group's sum.
    pub(crate) base: Vec<T>,
    /// How sums become margins.
    pub(crate) finish: MarginRule<T>,
}

/// A finished ensemble and its statistics.
#[derive(Debug)]
pub(crate) struct BuildOutput<T> {
    /// The ensemble.
    pub(crate) ensemble: Ensemble<T>,
    /// Splits and total gain by feature.
    pub(crate) use_of: Vec<(u32, f64)>,
    /// Whether any split on the feature tests for a category.
    pub(crate) categorical: Vec<bool>,
    /// Most splits on a path.
    pub(crate) depth: usize,
}

impl<T: Real> EnsembleBuilder<T> {
    /// Checks what spans several trees, and returns the ensemble.
    ///
    /// # Errors
    /// The tree, and what is wrong with it.
    pub(crate) fn finish(mut self, rest: EnsembleSettings<T>) -> Result<BuildOutput<T>, (usize, String)> {
        let mut use_of = vec![(0u32, 0f64); rest.features];
        let mut categorical = vec![false; rest.features];
        for (position, (split, gain)) in self.ensemble.splits.iter().zip(&self.gains).enumerate() {
            let Some((splits, gains)) = use_of.get_mut(split.feature as usize) else {
                let tree = self.tree_of(position);
                let reason = format!(
                    "splits on feature {}, but the model has {} features",
                    split.feature, rest.features
                );
                return Err((tree, reason));
            };
            *splits += 1;
            *gains += gain.to_f64();
            if let (SplitTest::Member(_), Some(flag)) =
                (split.test, categorical.get_mut(split.feature as usize))
            {
                *flag = true;
            }
        }
        self.check_linear(rest.features)?;
        for (position, tree) in self.ensemble.trees.iter().enumerate() {
            if tree.group as usize >= rest.groups {
                let reason = format!(
                    "adds to group {}, but the model has {} groups",
                    tree.group, rest.groups
                );
                return Err((position, reason));
            }
        }
        if self.lacks_cover {
            self.ensemble.split_cover = Vec::new();
            self.ensemble.leaf_cover = Vec::new();
        }
        self.ensemble.features = rest.features;
        self.ensemble.groups = rest.groups;
        self.ensemble.base = rest.base;
        self.ensemble.finish = rest.finish;
        self.ensemble.splits.shrink_to_fit();
        self.ensemble.values.shrink_to_fit();
        Ok(BuildOutput {
            ensemble: self.ensemble,
            use_of,
            categorical,
            depth: self.depth,
        })
    }

    /// Checks the features of linear leaves.
    fn check_linear(&self, features: usize) -> Result<(), (usize, String)> {
        for (leaf, linear) in self.ensemble.linear.iter().enumerate() {
            for (feature, _) in &linear.terms {
                if *feature as usize >= features {
                    let trees = &self.ensemble.trees;
                    let tree = trees.partition_point(|tree| tree.first_leaf as usize <= leaf);
                    let reason =
                        format!("a leaf uses feature {feature}, but the model has {features} features");
                    return Err((tree.saturating_sub(1), reason));
                }
            }
        }
        Ok(())
    }

    fn tree_of(&self, split: usize) -> usize {
        self.ensemble
            .trees
            .partition_point(|tree| tree.first_split as usize <= split)
            .saturating_sub(1)
    }
}
