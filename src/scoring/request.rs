//! What is asked and what is answered, in no protocol's words.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::features::plan::Origin;
use crate::models::ModelVersion;
use crate::telemetry::EntityResult;
use crate::values::entity_id::EntityId;
use crate::values::issues::FeatureIssues;
use crate::values::json::Scalar;

/// A request for scores.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// Which model.
    pub model: ModelRef,
    /// Whom to score.
    pub entities: Vec<Entity>,
    /// Number of reasons wanted for each score.
    pub explain: usize,
    /// When the client stops waiting; `None` leaves it to the server's own limits.
    pub deadline: Option<Instant>,
}

/// A model, and maybe one of its versions.
#[derive(Clone, Debug)]
pub struct ModelRef {
    /// Its name.
    pub name: String,
    /// Which of its versions.
    pub version: VersionSelector,
}

/// Which version of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionSelector {
    /// The one that answers.
    #[default]
    Live,
    /// The one of this number.
    Number(u64),
    /// The one that a label points at.
    Label(String),
}

impl VersionSelector {
    /// What a request names: a version, a label, or neither.
    ///
    /// # Errors
    /// It names both.
    pub fn named(version: Option<u64>, label: Option<String>) -> Result<Self, Error> {
        match (version, label) {
            (None, None) => Ok(Self::Live),
            (Some(version), None) => Ok(Self::Number(version)),
            (None, Some(label)) => Ok(Self::Label(label)),
            (Some(_), Some(_)) => Err(Error::invalid("version and label: name one of them".to_owned())),
        }
    }
}

/// Someone to score.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    /// The id to look features up by; without one, `features` is all there is.
    pub id: Option<EntityId>,
    /// Values that go before those of the source, by feature name.
    pub features: Vec<(String, Scalar)>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Scores {
    /// The version that gave the scores, except those that name another.
    pub model: Arc<ModelVersion>,
    /// One per entity, in the order asked.
    pub results: Vec<EntityScore>,
}

/// One entity's answer.
#[derive(Debug)]
pub struct EntityScore {
    /// As it was asked.
    pub id: Option<EntityId>,
    /// The version that gave this score, where it is not the answer's: a canary.
    pub model: Option<Arc<ModelVersion>>,
    /// A score, or why there is none.
    pub outcome: Outcome,
}

impl EntityScore {
    /// The status of the answer.
    pub fn result(&self) -> EntityResult {
        match &self.outcome {
            Outcome::Scored(scored) if scored.notes.degraded() => EntityResult::Degraded,
            Outcome::Scored(_) => EntityResult::Ok,
            Outcome::Failed(error) if error.kind() == ErrorKind::EntityNotFound => EntityResult::NotFound,
            Outcome::Failed(_) => EntityResult::Error,
        }
    }
}

/// What became of one entity.
#[derive(Debug)]
pub enum Outcome {
    /// A score; degraded or not.
    Scored(Score),
    /// No score, for a reason that concerns this entity alone: of [`ErrorKind::EntityNotFound`] when the source does not
    /// know the id and the request gave no features.
    Failed(Error),
}

/// A score.
#[derive(Debug)]
pub struct Score {
    /// The score, calibrated.
    pub score: f64,
    /// What the model gave, before calibration.
    pub value: f64,
    /// The name of its band.
    pub band: Option<Arc<str>>,
    /// What contributed most, in descending order of size.
    pub reasons: Vec<Reason>,
    /// What happened to the features.
    pub notes: FeatureIssues,
    /// Where the features come from.
    pub from: FeatureOrigin,
    /// When they were true: seconds since the Unix epoch.
    pub as_of: Option<f64>,
    /// Sources that could not be asked; their features count as missing.
    pub unavailable: Vec<String>,
}

/// Where the features of a score come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureOrigin {
    /// All from the request.
    Request,
    /// From the feature sources, with the request's values before them.
    Source(Origin),
}

impl FeatureOrigin {
    /// As it stands in answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Source(Origin::Snapshot) => "snapshot",
            Self::Source(Origin::Cache) => "cache",
            Self::Source(Origin::Store) => "store",
        }
    }
}

/// One feature's part in a score.
#[derive(Clone, Debug)]
pub struct Reason {
    /// Position among the model's inputs.
    pub input: usize,
    /// The number the model saw; NaN for missing.
    pub value: f64,
    /// What it added to the margin.
    pub contribution: f64,
}
