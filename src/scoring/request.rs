//! Requests for scores, independent of any protocol.

use std::time::Instant;

use super::client::Client;
use super::explain::Wanted;
use crate::error::Error;
use crate::values::entity_id::EntityId;
use crate::values::json::Scalar;

/// A request for scores.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// Who sent it.
    pub client: Client,
    /// The model to use.
    pub model: ModelRef,
    /// The entities to score.
    pub entities: Vec<Entity>,
    /// The reasons to return with each score.
    pub explain: Wanted,
    /// When the client stops waiting; `None` for no deadline of its own.
    pub deadline: Option<Instant>,
}

/// A model, and optionally one of its versions.
#[derive(Clone, Debug)]
pub struct ModelRef {
    /// The name.
    pub name: String,
    /// The version to use.
    pub version: VersionSelector,
}

/// How a request chooses a version of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionSelector {
    /// The live version.
    #[default]
    Live,
    /// The version with this number.
    Number(u64),
    /// The version that this label points at.
    Label(String),
}

impl VersionSelector {
    /// Builds the selector from a version, a label, or neither.
    ///
    /// # Errors
    /// Both are given.
    pub fn from_parts(version: Option<u64>, label: Option<String>) -> Result<Self, Error> {
        match (version, label) {
            (None, None) => Ok(Self::Live),
            (Some(version), None) => Ok(Self::Number(version)),
            (None, Some(label)) => Ok(Self::Label(label)),
            (Some(_), Some(_)) => Err(Error::invalid(
                "`version` and `label` are both given; keep one of them".to_owned(),
            )
            .about("version")),
        }
    }
}

/// One entity to score.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    /// The id to look up features by; without an id, `features` must hold every value.
    pub id: Option<EntityId>,
    /// Values that override those of the feature sources, by feature name.
    pub features: Vec<(String, Scalar)>,
}
