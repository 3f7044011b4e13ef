//! `POST /v1/score` and `GET /v1/models/{model}/scores/{id}`.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rest;
use super::body::{self, Body};
use super::problem::Problem;
use crate::api::status;
use crate::api::time::rfc3339;
use crate::error::Error;
use crate::features::row::Notes;
use crate::features::snapshot::EntityId;
use crate::json::Scalars;
use crate::models::ModelVersion;
use crate::scoring::{Entity, EntityScore, ModelRef, Outcome, ScoreRequest, Scored, Scores, Which};

/// Whom to score, with which model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoreBody {
    /// The model's name.
    #[schema(example = "churn")]
    model: String,
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
struct EntityBody {
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
pub(super) struct ScoresBody {
    model: VersionBody,
    results: Vec<ResultBody>,
}

/// One score.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScoreOneBody {
    model: VersionBody,
    #[serde(flatten)]
    result: ResultBody,
}

/// The version that gave the scores.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionBody {
    #[schema(example = "churn")]
    name: String,
    #[schema(example = 3)]
    version: u64,
    /// SHA-256 of the model file.
    sha256: String,
}

/// What became of one entity.
#[derive(Debug, Serialize, ToSchema)]
struct ResultBody {
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
    version: Option<u64>,
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

/// Which version, and how many reasons.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ScoreQuery {
    /// A version; without it, the live one.
    pub(super) version: Option<u64>,
    /// A label, in place of a version.
    pub(super) label: Option<String>,
    /// How many reasons to give.
    #[serde(default)]
    pub(super) explain: usize,
}

/// Scores entities, by id or by features. Each has its own status: one entity's trouble never fails the others.
#[utoipa::path(
    post, path = "/v1/score", tag = "score", request_body = ScoreBody,
    responses(
        (status = 200, body = ScoresBody),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The request is not valid"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such model"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The request is too large"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "The server is at its limit"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Nothing can answer now"),
    )
)]
pub(super) async fn score(State(rest): State<Rest>, body: Body) -> Result<Json<ScoresBody>, Error> {
    let result = async {
        let body: ScoreBody = body::json(body)?;
        rest.scorer.answer(body.try_into()?).await
    };
    rest.counters
        .score
        .count(result.await)
        .map(|scores| Json(scores.into()))
}

/// Scores one entity by its id.
#[utoipa::path(
    get, path = "/v1/models/{model}/scores/{id}", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"), ScoreQuery),
    responses(
        (status = 200, body = ScoreOneBody),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The request is not valid"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such model or entity"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The contract forbids a score from these features"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "The server is at its limit"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Nothing can answer now"),
    )
)]
pub(super) async fn score_one(
    State(rest): State<Rest>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ScoreQuery>, QueryRejection>,
) -> Result<Json<ScoreOneBody>, Error> {
    let result = async {
        let Path((model, id)) = path.map_err(|rejection| Error::Invalid(rejection.body_text()))?;
        let Query(query) = query.map_err(|rejection| Error::Invalid(rejection.body_text()))?;
        let entity = Entity {
            id: Some(EntityId::Text(id)),
            features: Vec::new(),
        };
        let model = ModelRef {
            name: model,
            version: Which::named(query.version, query.label)?,
        };
        let request = ScoreRequest {
            model,
            entities: vec![entity],
            explain: query.explain,
            deadline: None,
        };
        let Scores { model, mut results } = rest.scorer.answer(request).await?;
        match results.pop() {
            Some(EntityScore {
                outcome: Outcome::Failed(error),
                ..
            }) => Err(error),
            Some(result) => Ok(ScoreOneBody {
                model: (&*model).into(),
                result: result_body(&model, result),
            }),
            None => Err(Error::Internal("an answer without a result".to_owned())),
        }
    };
    rest.counters.score_one.count(result.await).map(Json)
}

impl TryFrom<ScoreBody> for ScoreRequest {
    type Error = Error;

    fn try_from(body: ScoreBody) -> Result<Self, Error> {
        let entities = body.entities.into_iter().map(|entity| Entity {
            id: entity.id.map(|id| match id {
                IdBody::Text(id) => EntityId::Text(id),
                IdBody::Int(id) => EntityId::Int(id),
            }),
            features: entity.features.0,
        });
        let model = ModelRef {
            name: body.model,
            version: Which::named(body.version, body.label)?,
        };
        Ok(Self {
            model,
            entities: entities.collect(),
            explain: body.explain,
            deadline: None,
        })
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

fn result_body(model: &ModelVersion, result: EntityScore) -> ResultBody {
    let status = result.result().label();
    let other = result.model.clone();
    let model = other.as_deref().unwrap_or(model);
    let id = result.id.map(|id| match id {
        EntityId::Text(id) => IdBody::Text(id),
        EntityId::Int(id) => IdBody::Int(id),
    });
    let empty = ResultBody {
        id,
        status,
        score: None,
        band: None,
        version: other.as_ref().map(|model| model.version),
        reasons: None,
        features: None,
        error: None,
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
        Outcome::Failed(error) => {
            let kind = status::of(error.kind()).label;
            ResultBody {
                error: Some(EntityErrorBody {
                    kind,
                    detail: status::message(&error),
                }),
                ..empty
            }
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
