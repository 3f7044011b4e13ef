//! The decision paths behind a score: for people who want to go from a reason to the splits behind it.

use std::sync::Arc;
use std::time::Instant;

use evergreen_forest::{Condition, TreePath};

use super::client::Client;
use super::explain::{Wanted, explained_group};
use super::predict::ScoreOutputs;
use super::request::ModelRef;
use super::trace::Traced;
use super::{Scorer, off_thread_if_long};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::rule::Rule;
use crate::values::entity_id::EntityId;

/// Trees in an answer if the request does not say.
pub const DEFAULT_TREES: usize = 10;

/// Most trees in one answer.
pub const MOST_TREES: usize = 1000;

/// The paths of one entity.
#[derive(Debug)]
pub struct ScorePaths {
    /// The version that the trees belong to.
    pub model: Arc<ModelVersion>,
    /// The values of the inputs, in the model's order.
    pub row: Vec<f64>,
    /// The score.
    pub score: f64,
    /// The trees that moved the margin most, the strongest first.
    pub trees: Vec<PathTree>,
    /// By feature that any tree asks for, within which values the score stays the same if all others stay: what all trees
    /// ask of it together. The one that most trees ask for comes first.
    pub features: Vec<SameScore>,
    /// The number of trees on which the score depends.
    pub all_trees: usize,
}

/// The path through one tree.
#[derive(Debug)]
pub struct PathTree {
    /// Position of the tree in the model.
    pub tree: usize,
    /// The leaf, as numbered by the training library.
    pub leaf: u32,
    /// What the tree adds to the margin, less what it adds on average.
    pub contribution: f64,
    /// What the path asks of each feature.
    pub rules: Vec<Rule>,
}

/// The values of a feature within which the score stays the same.
#[derive(Debug)]
pub struct SameScore {
    /// What all trees ask of the feature.
    pub rule: Rule,
    /// The number of trees that ask for it.
    pub trees: usize,
}

impl Scorer {
    /// Returns the paths of an entity through the `most` trees that moved its score most.
    ///
    /// # Errors
    /// The model or entity is unknown, or the model cannot explain its scores.
    pub async fn paths(
        self: &Arc<Self>,
        client: &Client,
        model: &ModelRef,
        id: EntityId,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<ScorePaths, Error> {
        if most > MOST_TREES {
            return Err(
                Error::invalid(format!("trees: expected at most {MOST_TREES}, found {most}")).about("trees"),
            );
        }
        let traced = self.traced(client, model, id, deadline, Wanted::one()).await?;
        Traced::check(&traced.servable, &traced.trace)?;
        let model = traced.servable.model.clone();
        // A tree is walked on every side for its mean.
        let walks = 64 * model.forest.summary().trees;
        off_thread_if_long(walks, move || {
            let Traced { trace, permit, .. } = traced;
            let found = paths(model, trace.row, most);
            drop(permit);
            found
        })
        .await
    }
}

fn paths(model: Arc<ModelVersion>, row: Vec<f64>, most: usize) -> Result<ScorePaths, Error> {
    let outputs = ScoreOutputs::of(&model, &row)?;
    let score = outputs.score(0)?;
    let group = explained_group(&model, &outputs.values, 0);
    let mut all = model
        .forest
        .paths(&row, group)
        .map_err(|error| Error::invalid(error.to_string()).about("model"))?;
    let features = same_score(&model, &all);
    let all_trees = all.len();
    all.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    all.truncate(most);
    let trees = all.into_iter().map(|path| PathTree {
        tree: path.tree,
        leaf: path.leaf,
        contribution: path.contribution,
        rules: path
            .conditions
            .iter()
            .filter_map(|condition| rule(&model, condition))
            .collect(),
    });
    Ok(ScorePaths {
        trees: trees.collect(),
        features,
        all_trees,
        score,
        row,
        model,
    })
}

fn rule(model: &ModelVersion, condition: &Condition) -> Option<Rule> {
    Some(Rule::new(model.inputs.get(condition.feature)?, condition))
}

/// Combines what all trees ask of each feature.
fn same_score(model: &ModelVersion, all: &[TreePath]) -> Vec<SameScore> {
    let mut asked: Vec<(usize, Condition)> = (0..model.inputs.len())
        .map(|feature| {
            let condition = Condition {
                feature,
                ..Condition::default()
            };
            (0, condition)
        })
        .collect();
    for condition in all.iter().flat_map(|path| &path.conditions) {
        if let Some((trees, known)) = asked.get_mut(condition.feature) {
            *trees += 1;
            known.and(condition);
        }
    }
    asked.retain(|(trees, _)| *trees > 0);
    asked.sort_by_key(|(trees, _)| std::cmp::Reverse(*trees));
    let features = asked.iter().filter_map(|(trees, condition)| {
        Some(SameScore {
            rule: rule(model, condition)?,
            trees: *trees,
        })
    });
    features.collect()
}
