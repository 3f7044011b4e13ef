//! `POST /v1/score` and `GET /v1/models/{model}/scores/{id}`.

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
use crate::api::context::about_model;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::scoring::{Entity, EntityScore, ModelRef, Outcome, ScoreRequest, Scores, VersionSelector};
use crate::values::entity_id::EntityId;
use wire::{ScoreBody, ScoreOneBody, ScoresBody};

/// About what a result without reasons takes as JSON.
const RESULT_BYTES: usize = 160;

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
    post, path = "/v1/score", tag = "score", params(RequestHeaders), request_body = ScoreBody,
    responses(
        (status = 200, body = ScoresBody),
        Problems,
    )
)]
pub(super) async fn score(
    State(rest): State<HttpState>,
    DeadlineHeader(deadline): DeadlineHeader,
    body: Body,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let body: ScoreBody = body::json(body)?;
        about_model(&body.model);
        let scores = within(deadline, rest.scorer.answer(body.into_domain(deadline)?)).await?;
        body::answer(
            &ScoresBody::from(&scores),
            RESULT_BYTES * (1 + scores.results.len()),
        )
    };
    rest.counters.score.count(result.await)
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
    State(rest): State<HttpState>,
    DeadlineHeader(deadline): DeadlineHeader,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ScoreQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let Path((model, id)) = path.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        let Query(query) = query.map_err(|rejection| Error::invalid(rejection.body_text()))?;
        about_model(&model);
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
        let Scores { model, mut results } = within(deadline, rest.scorer.answer(request)).await?;
        match results.pop() {
            Some(EntityScore {
                outcome: Outcome::Failed(error),
                ..
            }) => Err(error),
            Some(result) => body::answer(&ScoreOneBody::new(&model, &result), 2 * RESULT_BYTES),
            None => Err(Error::internal("an answer without a result".to_owned())),
        }
    };
    rest.counters.score_one.count(result.await)
}
