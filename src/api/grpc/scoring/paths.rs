//! Messages of decision paths.

use evergreen_forest::Bound;

use super::{feature_value, proto, version};
use crate::models::ModelVersion;
use crate::models::rule::Rule;
use crate::scoring::paths::{PathTree, SameScore, ScorePaths};

/// The answer to a request for paths.
pub(super) fn message(paths: ScorePaths) -> proto::GetPathsResponse {
    let ScorePaths {
        model,
        row,
        score,
        trees,
        features,
        all_trees,
    } = paths;
    let trees = trees.into_iter().map(|path| tree(&model, path));
    let features = features.into_iter().map(|same| same_score(&model, &row, same));
    proto::GetPathsResponse {
        score,
        all_trees: count(all_trees),
        trees: trees.collect(),
        features: features.collect(),
        model: Some(version(&model)),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn tree(model: &ModelVersion, path: PathTree) -> proto::TreePath {
    proto::TreePath {
        tree: count(path.tree),
        leaf: path.leaf,
        contribution: path.contribution,
        rules: path.rules.into_iter().map(|asked| rule(model, asked)).collect(),
    }
}

fn same_score(model: &ModelVersion, row: &[f64], same: SameScore) -> proto::SameScore {
    let SameScore { rule: asked, trees } = same;
    let input = model.inputs.get(asked.input).zip(row.get(asked.input));
    proto::SameScore {
        value: input.and_then(|(input, &value)| feature_value(&input.present(value))),
        trees: count(trees),
        rule: Some(rule(model, asked)),
    }
}

fn rule(model: &ModelVersion, rule: Rule) -> proto::Rule {
    let bound = |Bound { value, inclusive }| proto::Bound { value, inclusive };
    let input = model.inputs.get(rule.input);
    proto::Rule {
        feature: input.map_or_else(String::new, |input| input.contract.name.clone()),
        text: rule.text,
        lower: rule.lower.map(bound),
        upper: rule.upper.map(bound),
        categories: rule.categories.unwrap_or_default(),
        missing: rule.missing,
    }
}
