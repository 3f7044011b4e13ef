//! Requests and answers as JSON.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::status;
use crate::api::time::rfc3339;
use crate::error::Error;
use crate::features::row::Notes;
use crate::features::snapshot::EntityId;
use crate::json::Scalars;
use crate::models::ModelVersion;
use crate::scoring::{Entity, EntityScore, ModelRef, Outcome, ScoreRequest, Scored, Scores, Which};
use crate::telemetry::EntityResult;

/// Whom to score, with which model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::http) struct ScoreBody {
    /// The model's name.
    #[schema(example = "churn")]
    pub(in crate::api::http) model: String,
    /// A version; without it, the live one.
    version: Option<u64>,
    /// A label, in place of a version.
    #[schema(example = "stable")]
    label: Option<String>,
    /// Whom to score.
    #[schema(min_items = 1)]
    entities: Vec<EntityBody>,
    /// How many reasons to give for each score.
    #[serde(default)]
    #[schema(example = 3)]
    explain: usize,
}

/// Someone to score: an id, features, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::http) struct EntityBody {
    /// The id to look features up by.
    #[schema(example = "C-1042")]
    id: Option<IdBody>,
    /// Values that go before those of the feature source. `null` (or a bare `NaN`) is missing.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, FeatureBody>)]
    features: Scalars,
}

/// A text or a whole number.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "expected an id: a text or a whole number")]
enum IdBody {
    Text(String),
    Int(i64),
}

/// A number, a text (for categories and timestamps), true, false or null.
#[derive(ToSchema)]
#[schema(as = FeatureValue)]
#[expect(dead_code, reason = "only describes `Scalars`")]
#[serde(untagged)]
enum FeatureBody {
    Number(f64),
    Text(String),
    Bool(bool),
    Null(Option<()>),
}

/// Scores, in the order asked.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct ScoresBody {
    model: VersionBody,
    results: Vec<ResultBody>,
}

/// One score.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct ScoreOneBody {
    model: VersionBody,
    #[serde(flatten)]
    result: ResultBody,
}

/// The version that gave the scores.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct VersionBody {
    #[schema(example = "churn")]
    name: String,
    #[schema(example = 3)]
    version: u64,
    /// SHA-256 of the model file.
    sha256: String,
}

/// What became of one entity.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::http) struct ResultBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<IdBody>,
    /// `ok`; `degraded`: scored, but see `features`; `not_found`: no such id; `error`: see `error`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The score, exactly as the model gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.8123)]
    score: Option<f64>,
    /// The name of the score's band.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "high")]
    band: Option<String>,
    /// The version that gave this score, where it is not the answer's: while a canary takes a share of the entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 4)]
    pub(in crate::api::http) version: Option<u64>,
    /// What contributed most to the score, on the margin's scale (log-odds for a probability).
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<ReasonBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<FeaturesBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EntityErrorBody>,
}

/// One feature's part in a score.
#[derive(Debug, Serialize, ToSchema)]
struct ReasonBody {
    #[schema(example = "support_calls_30d")]
    feature: String,
    #[schema(example = "Support calls, last 30 days")]
    label: String,
    /// What the model saw: a number, a category's name, true or false, or null for missing.
    #[schema(value_type = FeatureBody)]
    value: serde_json::Value,
    /// Added to the margin by this feature; negative lowers the score.
    #[schema(example = 0.92)]
    contribution: f64,
}

/// Where the features come from, and what is to be known about them.
#[derive(Debug, Serialize, ToSchema)]
struct FeaturesBody {
    /// `snapshot`, `cache` or `store`: the furthest away of those that were asked; `request` when all of them came with it.
    #[schema(example = "snapshot")]
    from: &'static str,
    /// When they were true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-21T03:00:00Z")]
    as_of: Option<String>,
    /// No source has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// Known to have no value, as in training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    null: Vec<String>,
    /// Older than the contract allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stale: Vec<String>,
    /// Outside of the contract's range, or a category the model does not know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    out_of_range: Vec<String>,
    /// The contract's default was used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    defaulted: Vec<String>,
    /// Feature sources that could not be asked; what they hold counts as missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<String>,
}

/// Why one entity has no score.
#[derive(Debug, Serialize, ToSchema)]
struct EntityErrorBody {
    /// The kind, as in problems.
    #[schema(example = "rejected")]
    kind: &'static str,
    detail: String,
}

impl ScoreBody {
    pub(in crate::api::http) fn into_domain(self, deadline: Option<Instant>) -> Result<ScoreRequest, Error> {
        let model = ModelRef {
            name: self.model,
            version: Which::named(self.version, self.label)?,
        };
        Ok(ScoreRequest {
            model,
            entities: self.entities.into_iter().map(Into::into).collect(),
            explain: self.explain,
            deadline,
        })
    }
}

impl From<EntityBody> for Entity {
    fn from(entity: EntityBody) -> Self {
        let id = entity.id.map(|id| match id {
            IdBody::Text(id) => EntityId::Text(id),
            IdBody::Int(id) => EntityId::Int(id),
        });
        Self {
            id,
            features: entity.features.0,
        }
    }
}

impl From<&ModelVersion> for VersionBody {
    fn from(model: &ModelVersion) -> Self {
        Self {
            name: model.name.clone(),
            version: model.version,
            sha256: model.sha256.clone(),
        }
    }
}

impl ScoreOneBody {
    pub(in crate::api::http) fn new(model: &ModelVersion, result: EntityScore) -> Self {
        Self {
            model: model.into(),
            result: result_body(model, result),
        }
    }
}

impl From<Scores> for ScoresBody {
    fn from(scores: Scores) -> Self {
        let model = &*scores.model;
        let results = scores
            .results
            .into_iter()
            .map(|result| result_body(model, result))
            .collect();
        Self {
            model: model.into(),
            results,
        }
    }
}

pub(in crate::api::http) fn result_body(model: &ModelVersion, result: EntityScore) -> ResultBody {
    let status = result.result();
    let id = result.id.map(|id| match id {
        EntityId::Text(id) => IdBody::Text(id),
        EntityId::Int(id) => IdBody::Int(id),
    });
    let other = result.model;
    let model = other.as_deref().unwrap_or(model);
    let empty = ResultBody {
        version: other.as_ref().map(|model| model.version),
        ..ResultBody::without_score(id, status)
    };
    match result.outcome {
        Outcome::Scored(scored) => {
            let reasons = Some(reasons(model, &scored));
            let features = Some(features(model, &scored));
            ResultBody {
                score: Some(scored.score),
                band: scored.band,
                reasons,
                features,
                ..empty
            }
        }
        Outcome::Failed(error) => ResultBody {
            error: Some((&error).into()),
            ..empty
        },
    }
}

impl ResultBody {
    /// What is said of someone whom the scoring path never saw.
    pub(in crate::api::http) fn failed(error: &Error) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::without_score(None, EntityResult::Error)
        }
    }

    fn without_score(id: Option<IdBody>, status: EntityResult) -> Self {
        Self {
            id,
            status: status.label(),
            score: None,
            band: None,
            version: None,
            reasons: None,
            features: None,
            error: None,
        }
    }
}

impl From<&Error> for EntityErrorBody {
    fn from(error: &Error) -> Self {
        Self {
            kind: status::of(error.kind()).label,
            detail: status::message(error),
        }
    }
}

fn reasons(model: &ModelVersion, scored: &Scored) -> Vec<ReasonBody> {
    let reasons = scored.reasons.iter().filter_map(|reason| {
        let input = model.inputs.get(reason.input)?;
        Some(ReasonBody {
            feature: input.contract.name.clone(),
            label: input.contract.label().to_owned(),
            value: input.present(reason.value),
            contribution: reason.contribution,
        })
    });
    reasons.collect()
}

fn features(model: &ModelVersion, scored: &Scored) -> FeaturesBody {
    let names = |positions: &[usize]| model.input_names(positions);
    let Notes {
        missing,
        null,
        stale,
        out_of_range,
        defaulted,
    } = &scored.notes;
    FeaturesBody {
        from: scored.from.label(),
        as_of: scored.as_of.and_then(rfc3339),
        missing: names(missing),
        null: names(null),
        stale: names(stale),
        out_of_range: names(out_of_range),
        defaulted: names(defaulted),
        unavailable: scored.unavailable.clone(),
    }
}
