//! `GET /v1/models/{model}/scores/{id}/changes`: what changed in a score since the previous snapshot.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{
    ChangesParameter, EntityQuery, PathParameters, QueryParameters, VersionParameters, entity_query,
};
use super::problem::Problems;
use super::schema::FeatureValue;
use super::score::reason::DirectionName;
use super::score::wire::ModelVersionBody;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::sentence::{Direction, describe_change};
use crate::scoring::changes::{ChangedFeature, DEFAULT_REASONS, ScoreAt, ScoreChange};
use crate::values::entity_id::EntityId;
use crate::values::time::instant;

/// What changed in a score.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangesBody {
    model: ModelVersionBody<'static>,
    /// The entity's id.
    #[schema(example = "C-1042")]
    id: String,
    /// The change as a sentence.
    #[schema(example = "64 in 100, 12 more than before. Visits to the site, last 30 days: 3, before 14.")]
    text: String,
    /// The score now.
    now: ScoreAtBody,
    /// The score that the same version gives with the features of the previous snapshot.
    before: ScoreAtBody,
    /// The score now, less the one before.
    #[schema(example = 0.12)]
    difference: f64,
    /// The features whose contribution changed, the largest change first.
    reasons: Vec<ChangedFeatureBody>,
    /// The change of the margin that is not in `reasons`.
    remainder: f64,
}

/// A score at a time.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreAtBody {
    /// The score.
    #[schema(example = 0.64)]
    score: f64,
    /// Name of the score's band.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "high")]
    band: Option<String>,
    /// When the features were observed; the oldest of them counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-11-21T03:00:00Z")]
    as_of: Option<Timestamp>,
}

/// A feature then and now.
#[derive(Debug, Serialize, ToSchema)]
struct ChangedFeatureBody {
    /// The feature's name.
    #[schema(example = "visits_30d")]
    feature: String,
    /// The feature's name for people.
    #[schema(example = "Visits to the site, last 30 days")]
    label: String,
    /// The value now.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// The value before.
    #[schema(value_type = FeatureValue)]
    before: serde_json::Value,
    /// The change of what the feature adds to the margin. It can differ from 0 for a value that stayed, as features act
    /// together.
    #[schema(example = 0.4)]
    contribution: f64,
    /// `raises` or `lowers`: what the change does to the score.
    #[schema(value_type = DirectionName, example = "raises")]
    direction: &'static str,
    /// The change as a sentence.
    text: String,
}

/// Shows what changed in a score since the previous snapshot, under the same version.
#[utoipa::path(
    get, path = "/v1/models/{model}/scores/{id}/changes", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"),
        VersionParameters, ChangesParameter, RequestHeaders),
    responses(
        (status = 200, description = "The change", body = ChangesBody),
        Problems,
    )
)]
pub(super) async fn changes(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<(String, String)>,
    QueryParameters(query): QueryParameters,
) -> Result<Json<ChangesBody>, Error> {
    let result = async {
        let deadline = deadline?;
        let EntityQuery {
            model, id, explain, ..
        } = entity_query(parameters, query)?;
        let most = match explain.strongest {
            strongest if explain.most() > strongest => {
                return Err(
                    Error::invalid("changes have both directions; keep `explain` alone")
                        .about("explain_raising"),
                );
            }
            0 => DEFAULT_REASONS,
            strongest => strongest,
        };
        let entity = EntityId::Text(id.clone());
        let changes = state.scorer.changes(&client, &model, entity, most, deadline);
        let changes = within(deadline, changes).await?;
        state.counters.changes.answered_by(&changes.model);
        Ok(changes_body(id, changes))
    };
    state.counters.changes.count(result.await).map(Json)
}

fn changes_body(id: String, change: ScoreChange) -> ChangesBody {
    let ScoreChange {
        model,
        text,
        now,
        before,
        reasons,
        remainder,
    } = change;
    let reasons = reasons.iter().filter_map(|feature| feature_body(&model, feature));
    ChangesBody {
        id,
        text,
        difference: now.score - before.score,
        now: score_at(now),
        before: score_at(before),
        reasons: reasons.collect(),
        remainder,
        model: ModelVersionBody::from(&*model).into_owned(),
    }
}

fn score_at(at: ScoreAt) -> ScoreAtBody {
    ScoreAtBody {
        score: at.score,
        band: at.band.as_deref().map(str::to_owned),
        as_of: at.as_of.and_then(instant),
    }
}

fn feature_body(model: &ModelVersion, feature: &ChangedFeature) -> Option<ChangedFeatureBody> {
    let input = model.inputs.get(feature.input)?;
    Some(ChangedFeatureBody {
        feature: input.contract.name.clone(),
        label: input.contract.label().to_owned(),
        value: input.present(feature.now),
        before: input.present(feature.before),
        contribution: feature.contribution,
        direction: Direction::of(feature.contribution).label(),
        text: describe_change(input, feature.now, feature.before),
    })
}
