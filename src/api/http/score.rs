//! `POST /v1/score` and `GET /v1/models/{model}/scores/{id}`: scores of a batch or of one entity.

pub(super) mod wire;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::HttpState;
use super::body::{self, Body};
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::problem::Problems;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::error::Error;
use crate::scoring::{Entity, EntityScore, ModelRef, Outcome, ScoreRequest, Scores, VersionSelector};
use crate::values::entity_id::EntityId;
use wire::{ScoreBody, ScoreOneBody, ScoresBody};

/// Approximate size of a result without reasons as JSON.
const RESULT_BYTES: usize = 160;

/// Query parameters: version and number of reasons.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ScoreQuery {
    /// Version to use. Default: the live one.
    pub(super) version: Option<u64>,
    /// Label of the version to use, instead of `version`.
    pub(super) label: Option<String>,
    /// Number of reasons per score. Default: 0.
    #[serde(default)]
    pub(super) explain: usize,
}

/// Scores entities by id or by features. Each entity has its own status: an error in one does not affect the others.
#[utoipa::path(
    post, path = "/v1/score", tag = "score", params(RequestHeaders), request_body = ScoreBody,
    responses(
        (status = 200, body = ScoresBody),
        Problems,
    )
)]
pub(super) async fn score(
    State(state): State<HttpState>,
    DeadlineHeader(deadline): DeadlineHeader,
    body: Body,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let body: ScoreBody = body::json(body)?;
        record_model(&body.model);
        let scores = within(deadline, state.scorer.answer(body.into_domain(deadline)?)).await?;
        body::answer(
            &ScoresBody::from(&scores),
            RESULT_BYTES * (1 + scores.results.len()),
        )
    };
    state.counters.score.count(result.await)
}

/// Scores one entity by its id.
#[utoipa::path(
    get, path = "/v1/models/{model}/scores/{id}", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"), ScoreQuery, RequestHeaders),
    responses(
        (status = 200, body = ScoreOneBody),
        Problems,
    )
)]
pub(super) async fn score_one(
    State(state): State<HttpState>,
    DeadlineHeader(deadline): DeadlineHeader,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ScoreQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let Path((model, id)) = path.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        let Query(query) = query.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        record_model(&model);
        let entity = Entity {
            id: Some(EntityId::Text(id)),
            features: Vec::new(),
        };
        let model = ModelRef {
            name: model,
            version: VersionSelector::from_parts(query.version, query.label)?,
        };
        let request = ScoreRequest {
            model,
            entities: vec![entity],
            explain: query.explain,
            deadline,
        };
        let Scores { model, mut results } = within(deadline, state.scorer.answer(request)).await?;
        match results.pop() {
            Some(EntityScore {
                outcome: Outcome::Failed(error),
                ..
            }) => Err(error),
            Some(result) => body::answer(&ScoreOneBody::new(&model, &result), 2 * RESULT_BYTES),
            None => Err(Error::internal("no result for the entity".to_owned())),
        }
    };
    state.counters.score_one.count(result.await)
}
