//! Scores and the reasons for them, independent of any protocol.

use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::features::plan::Origin;
use crate::models::ModelVersion;
use crate::models::contract::Template;
use crate::models::input::ModelInput;
use crate::models::sentence::{Direction, Push, ReasonTexts, describe};
use crate::models::usual::Usual;
use crate::values::entity_id::EntityId;
use crate::values::issues::FeatureIssues;

/// Approximate size of a result without reasons, and of a reason, as text in bytes.
pub const RESULT_TEXT: usize = 160;
const REASON_TEXT: usize = 1024;

/// The status of one entity in answers and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the status of the same name")]
pub enum EntityResult {
    Ok,
    Degraded,
    NotFound,
    Error,
}

impl EntityResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::NotFound, Self::Error];

    /// The name in answers and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::NotFound => "not_found",
            Self::Error => "error",
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Scores {
    /// The version that gave the scores, unless a score names another one.
    pub model: Arc<ModelVersion>,
    /// One per entity, in the order of the request.
    pub results: Vec<EntityScore>,
}

impl Scores {
    /// Approximate size of the answer as text in bytes.
    pub fn text_bytes(&self) -> usize {
        let reasons = self.results.iter().map(|result| match &result.outcome {
            Outcome::Scored(score) => score.reasons.len(),
            Outcome::Failed(_) => 0,
        });
        RESULT_TEXT * (1 + self.results.len()) + REASON_TEXT * reasons.sum::<usize>()
    }
}

/// The answer for one entity.
#[derive(Debug)]
pub struct EntityScore {
    /// The id as the request gave it.
    pub id: Option<EntityId>,
    /// The version that gave this score, if it differs from [`Scores::model`]: a canary.
    pub model: Option<Arc<ModelVersion>>,
    /// The score, or the reason why there is none.
    pub outcome: Outcome,
    /// Whether nobody is to contact this customer.
    pub hold_out: bool,
}

impl EntityScore {
    /// The status of the answer.
    pub fn result(&self) -> EntityResult {
        match &self.outcome {
            Outcome::Scored(scored) if scored.issues.degraded() => EntityResult::Degraded,
            Outcome::Scored(_) => EntityResult::Ok,
            Outcome::Failed(error) if error.kind() == ErrorKind::EntityNotFound => EntityResult::NotFound,
            Outcome::Failed(_) => EntityResult::Error,
        }
    }
}

/// The outcome for one entity.
#[derive(Debug)]
pub enum Outcome {
    /// A score, degraded or not.
    Scored(Score),
    /// No score, for a reason that concerns this entity alone. [`ErrorKind::EntityNotFound`] if no source knows the id
    /// and the request gave no features.
    Failed(Error),
}

/// A score.
#[derive(Debug)]
pub struct Score {
    /// The calibrated score.
    pub score: f64,
    /// The model's value before calibration.
    pub value: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
    /// The wanted reasons, the largest contribution first.
    pub reasons: Vec<Reason>,
    /// How the contributions add up; `None` unless reasons are wanted.
    pub explanation: Option<Explanation>,
    /// What is missing, stale or out of range.
    pub issues: FeatureIssues,
    /// Where the features come from.
    pub from: FeatureOrigin,
    /// The oldest `as_of` time of the features, in seconds since the Unix epoch.
    pub as_of: Option<f64>,
    /// Names of unavailable sources; their features count as missing.
    pub unavailable: Vec<String>,
}

/// Where the features of a score come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureOrigin {
    /// All values come from the request.
    Request,
    /// From feature sources; values of the request override them.
    Source(Origin),
}

impl FeatureOrigin {
    /// Every origin.
    pub const ALL: [Self; 4] = [
        Self::Request,
        Self::Source(Origin::Snapshot),
        Self::Source(Origin::Cache),
        Self::Source(Origin::Store),
    ];

    /// The name in answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Source(Origin::Snapshot) => "snapshot",
            Self::Source(Origin::Cache) => "cache",
            Self::Source(Origin::Store) => "store",
        }
    }
}

/// How contributions add up to the margin: base + those of the reasons + remainder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explanation {
    /// The mean margin over the training weights of the model file.
    pub base: f64,
    /// The score that the base gives; `None` for classes.
    pub base_score: Option<f64>,
    /// The contributions that are not in the reasons.
    pub remainder: f64,
}

/// A reason for a score: a feature, or a group of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The contribution to the margin, in the unit of the margin (log-odds for a classifier); of a group, the sum.
    pub contribution: f64,
    /// The score less what it would be if its features had their usual values, and all others their own; `None` if that is
    /// not known.
    pub effect: Option<f64>,
    /// Whether the contract puts more than one feature into its group.
    pub grouped: bool,
    /// Its features, at least one: those that push its way first, the strongest first.
    pub parts: Vec<Part>,
}

/// The contribution of one feature to a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Position among the model's inputs.
    pub input: usize,
    /// The value that the model saw; NaN for missing.
    pub value: f64,
    /// The contribution to the margin.
    pub contribution: f64,
}

/// A reason with all that a model knows of it, for every protocol.
#[derive(Debug)]
pub struct ReasonView<'a> {
    /// Its first feature.
    pub input: &'a ModelInput,
    /// The value of that feature; NaN for missing.
    pub value: f64,
    /// The name of the group in the contract.
    pub group: Option<&'a str>,
    /// The unit of the value.
    pub unit: Option<&'a str>,
    /// What is usual for the feature.
    pub usual: Option<&'a Usual>,
    /// Whether it raises or lowers the score.
    pub direction: Direction,
    /// The reason in words.
    pub texts: ReasonTexts,
    /// The features of a group, if more than one contributes: each with its input.
    pub parts: Vec<(&'a ModelInput, Part)>,
}

impl Reason {
    /// Looks the reason up in its model; `None` if the model has no such input. `score` is the entity's.
    pub fn view<'a>(&self, model: &'a ModelVersion, score: f64) -> Option<ReasonView<'a>> {
        let first = self.parts.first()?;
        let input = model.inputs.get(first.input)?;
        let push = Push {
            input: first.input,
            value: first.value,
            contribution: self.contribution,
            effect: self.effect,
            score,
            grouped: self.grouped,
        };
        let wording = &input.contract.reason;
        let parts = match self.parts.as_slice() {
            [_] => &[],
            parts => parts,
        };
        let parts = parts
            .iter()
            .filter_map(|part| Some((model.inputs.get(part.input)?, *part)));
        Some(ReasonView {
            input,
            value: first.value,
            group: wording.group.as_ref().map(Template::source),
            unit: wording.unit.as_ref().map(Template::source),
            usual: model.usual.get(first.input).and_then(Option::as_ref),
            direction: Direction::of(self.contribution),
            texts: describe(model, &push)?,
            parts: parts.collect(),
        })
    }
}
