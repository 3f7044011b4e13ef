//! Reads `learner.gradient_booster`: the trees and how they are added up.
//!
//! DART saves its weights in three places: up to 3.2 beside a nested `gbtree`, in 3.3 beside `model`, since
//! 3.4 inside `model`.

use crate::builder::{BuildOutput, EnsembleBuilder, EnsembleSettings};
use crate::document::{Document, Fault};
use crate::ensemble::{CodeRule, InputRule, MarginRule, ThresholdRule};
use crate::format::xgboost::tree::XgBoostTree;
use crate::format::xgboost::{at, categories, count};
use crate::{Categories, FormatError};

/// The booster's part of a file.
pub(super) struct Booster {
    name: String,
    builder: EnsembleBuilder<f32>,
    /// The output group of each tree.
    groups: Vec<u32>,
    /// The first tree of each round, and the end; empty before 2.0.
    rounds: Vec<usize>,
    /// Trees per group and round.
    parallel: usize,
    /// DART's weight of each tree.
    weights: Option<Vec<f32>>,
    categories: Vec<Option<Categories>>,
    has_trees: bool,
}

/// Reads `gradient_booster`.
pub(super) fn read<'a, D: Document<'a>>(document: &mut D) -> Result<Booster, Fault> {
    let mut booster = Booster {
        name: String::new(),
        builder: EnsembleBuilder::new(ThresholdRule::Less, CodeRule::NonNegative, InputRule::AsIs),
        groups: Vec::new(),
        rounds: Vec::new(),
        parallel: 1,
        weights: None,
        categories: Vec::new(),
        has_trees: false,
    };
    document.object(|document, key| match key {
        "name" => document.text().map(|name| booster.name = name.into_owned()),
        "gbtree" => document.object(|document, key| match key {
            "model" => booster.model(document),
            _ => document.skip(),
        }),
        "model" => booster.model(document),
        "weight_drop" => booster.weight_drop(document),
        _ => document.skip(),
    })?;
    Ok(booster)
}

impl Booster {
    /// Returns whether the model has been trained for at least one round.
    pub(super) fn is_fitted(&self) -> bool {
        self.builder.trees() > 0
    }

    fn model<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        document.object(|document, key| match key {
            "gbtree_model_param" => document.object(|document, key| match key {
                "num_parallel_tree" => count(document).map(|parallel| self.parallel = parallel.max(1)),
                _ => document.skip(),
            }),
            "tree_info" => document.integers(&mut self.groups),
            "iteration_indptr" => document.integers(&mut self.rounds),
            "cats" => categories::read(document).map(|categories| self.categories = categories),
            "weight_drop" => self.weight_drop(document),
            "trees" if self.has_trees => Err(document.fault("duplicate key `trees`")),
            "trees" => self.trees(document),
            _ => document.skip(),
        })
    }

    fn weight_drop<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        let mut weights = Vec::new();
        document.f32s(&mut weights)?;
        self.weights = Some(weights);
        Ok(())
    }

    fn trees<'a, D: Document<'a>>(&mut self, document: &mut D) -> Result<(), Fault> {
        self.has_trees = true;
        let mut columns = XgBoostTree::default();
        document.array(|document, _| {
            let start = document.offset();
            columns.read(document)?;
            columns
                .build(&mut self.builder)
                .map_err(|why| Fault::new(start, why))
        })
    }

    /// Builds the ensemble. `best` is the last round to use.
    pub(super) fn assemble(
        mut self,
        best: Option<usize>,
        rest: EnsembleSettings<f32>,
        version: &[u32],
    ) -> Result<(BuildOutput<f32>, Vec<Option<Categories>>), FormatError> {
        const PATH: &str = "learner.gradient_booster";
        match self.name.as_str() {
            "gbtree" | "dart" => {}
            "gblinear" => {
                let why =
                    "linear models (gblinear) are not supported; train with booster=\"gbtree\" or \"dart\"";
                return Err(at(PATH, why));
            }
            other => {
                return Err(at(
                    PATH,
                    format!("unknown booster `{other}`, expected gbtree or dart"),
                ));
            }
        }
        let trees = self.builder.trees();
        if self.groups.len() != trees {
            let why = format!(
                "expected {trees} entries, one per tree, found {}",
                self.groups.len()
            );
            return Err(at(&format!("{PATH}.model.tree_info"), why));
        }
        self.weigh(trees)
            .map_err(|why| at(&format!("{PATH}.weight_drop"), why))?;
        for (tree, group) in self.groups.iter().enumerate() {
            self.builder.group(tree, *group);
        }
        let rest = self.add_base(rest, version);
        let keep = self
            .end_of(best, trees)
            .map_err(|why| at(&format!("{PATH}.model.iteration_indptr"), why))?;
        self.builder.truncate(keep);
        self.builder
            .leaf_width_is(rest.groups)
            .map_err(|why| at(&format!("{PATH}.model.trees"), why))?;
        if version < [1, 7].as_slice() {
            self.builder.codes(CodeRule::NonNegativeElseMissing);
        }
        let built = self
            .builder
            .finish(rest)
            .map_err(|(tree, why)| at(&format!("{PATH}.model.trees[{tree}]"), why))?;
        Ok((built, self.categories))
    }

    /// Old releases add the trees up from zero, and then the base.
    fn add_base(&self, mut rest: EnsembleSettings<f32>, version: &[u32]) -> EnsembleSettings<f32> {
        let since = if self.weights.is_some() { [1, 4] } else { [1, 3] };
        if version < since.as_slice() {
            let base = std::mem::replace(&mut rest.base, vec![0.0; rest.groups]);
            rest.finish = MarginRule::ScaleBias(1.0, base);
        }
        rest
    }

    /// Multiplies DART's weights into the leaves. The library multiplies in `f32` before it adds, so doing it
    /// once gives the same bits.
    fn weigh(&mut self, trees: usize) -> Result<(), String> {
        let Some(weights) = &self.weights else {
            return match self.name.as_str() {
                "dart" => Err("missing; a DART model needs one weight per tree".into()),
                _ => Ok(()),
            };
        };
        if weights.len() != trees {
            return Err(format!(
                "expected {trees} weights, one per tree, found {}",
                weights.len()
            ));
        }
        if !weights.iter().all(|weight| weight.is_finite()) {
            return Err("weights must be finite numbers".into());
        }
        for (tree, weight) in weights.iter().enumerate() {
            self.builder.scale(tree, *weight);
        }
        Ok(())
    }

    /// Returns the number of trees up to and including round `best`.
    fn end_of(&self, best: Option<usize>, trees: usize) -> Result<usize, String> {
        let ordered = self.rounds.is_sorted() && self.rounds.last().is_none_or(|end| *end == trees);
        if !ordered {
            return Err(format!("expected ascending positions up to {trees} trees"));
        }
        let Some(best) = best else { return Ok(trees) };
        if !self.rounds.is_empty() {
            return Ok(self.rounds.get(best.saturating_add(1)).copied().unwrap_or(trees));
        }
        let groups = self.groups.iter().max().map_or(1, |group| *group as usize + 1);
        Ok(best
            .saturating_add(1)
            .saturating_mul(self.parallel)
            .saturating_mul(groups)
            .min(trees))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booster(groups: &[u32], rounds: &[usize], parallel: usize) -> Booster {
        Booster {
            name: "gbtree".into(),
            builder: EnsembleBuilder::new(ThresholdRule::Less, CodeRule::NonNegative, InputRule::AsIs),
            groups: groups.to_vec(),
            rounds: rounds.to_vec(),
            parallel,
            weights: None,
            categories: Vec::new(),
            has_trees: true,
        }
    }

    #[test]
    fn every_tree_is_used_without_a_best_round() {
        assert_eq!(booster(&[0; 6], &[0, 2, 4, 6], 2).end_of(None, 6), Ok(6));
    }

    #[test]
    fn the_best_round_is_the_last_one() {
        let booster = booster(&[0; 6], &[0, 2, 4, 6], 2);
        assert_eq!(booster.end_of(Some(0), 6), Ok(2));
        assert_eq!(booster.end_of(Some(2), 6), Ok(6));
        assert_eq!(booster.end_of(Some(usize::MAX), 6), Ok(6));
    }

    #[test]
    fn old_files_count_trees_per_round() {
        // Three groups with two parallel trees each.
        let booster = booster(&[0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2], &[], 2);
        assert_eq!(booster.end_of(Some(0), 12), Ok(6));
        assert_eq!(booster.end_of(Some(7), 12), Ok(12));
    }

    #[test]
    fn rounds_must_ascend_to_the_number_of_trees() {
        assert!(booster(&[0; 4], &[0, 2, 3], 1).end_of(None, 4).is_err());
        assert!(booster(&[0; 4], &[0, 3, 2, 4], 1).end_of(None, 4).is_err());
    }
}
