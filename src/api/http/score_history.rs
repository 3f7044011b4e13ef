//! `GET /v1/models/{model}/scores/{id}/history`: the scores of an entity that were kept.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::outcomes::service;
use super::parameters::{PathParameters, path};
use super::problem::Problems;
use super::ranking::personal;
use super::schema::Id;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::error::Error;
use crate::record::outcomes::ScoreRecord;
use crate::values::entity_id::EntityId;

/// Approximate size of a score as text in bytes.
const SCORE_TEXT: usize = 96;

/// The scores of an entity over time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScoreHistoryBody<'a> {
    /// The model.
    #[schema(example = "churn")]
    model: &'a str,
    /// The entity's id.
    #[schema(value_type = Id, example = "C-1042")]
    id: &'a str,
    /// The first score of each week (`outcomes.score_days`) and version, the newest first, at most 100.
    scores: Vec<KeptScore>,
}

/// A score that was given.
#[derive(Debug, Serialize, ToSchema)]
struct KeptScore {
    /// When it was given.
    #[schema(value_type = String, format = DateTime, example = "2026-11-16T08:15:00Z")]
    time: Option<Timestamp>,
    /// The version that gave it.
    #[schema(example = 3)]
    version: u64,
    /// The score.
    #[schema(example = 0.52)]
    score: f64,
}

/// Shows how the score of an entity developed: the first score of each week and version that the server has given. They are kept
/// with the outcomes, so it needs `[outcomes]`; an entity that is not in its sample (`outcomes.share`) has none.
#[utoipa::path(
    get, path = "/v1/models/{model}/scores/{id}/history", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"), RequestHeaders),
    responses(
        (status = 200, description = "The scores, the newest first", body = ScoreHistoryBody),
        Problems,
    )
)]
pub(super) async fn score_history(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<(String, String)>,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let (model, id) = path(parameters)?;
        record_model(&model);
        client.check_model(&model)?;
        state.scorer.live().entry(&model)?;
        let service = service(&state)?;
        let entity = EntityId::Text(id.clone());
        let scores = within(deadline, service.scores_of(&model, &entity)).await?;
        let body = ScoreHistoryBody {
            model: &model,
            id: &id,
            scores: scores.iter().map(Into::into).collect(),
        };
        Ok(personal(body::answer(&body, SCORE_TEXT * (1 + scores.len()))?))
    };
    state.counters.score_history.count(result.await)
}

impl From<&ScoreRecord> for KeptScore {
    fn from(record: &ScoreRecord) -> Self {
        Self {
            time: Timestamp::from_microsecond(record.at).ok(),
            version: record.version,
            score: record.score,
        }
    }
}
