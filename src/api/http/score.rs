//! `POST /v1/score` and `GET /v1/models/{model}/scores/{id}`: scores of a batch or of one entity.

mod outline;
pub(super) mod reason;
pub(super) mod wire;

use axum::extract::State;
use axum::response::Response;

use super::HttpState;
use super::body::{self, Body};
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{
    EntityQuery, ExplainParameter, PathParameters, QueryParameters, VersionParameters, entity_query,
};
use super::problem::Problems;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::api::context::record_model;
use crate::error::Error;
use crate::scoring::outcome::RESULT_TEXT;
use crate::scoring::{Entity, EntityScore, Outcome, ScoreRequest, Scores};
use crate::values::entity_id::EntityId;
use crate::work;
use wire::{ScoreBody, ScoreOneBody, ScoresBody};

/// Scores entities by id or by features. Each entity has its own status: an error in one does not affect the others.
#[utoipa::path(
    post, path = "/v1/score", tag = "score", params(RequestHeaders), 
    request_body(content = ScoreBody, example = json!({"model": "churn", "entities": [{"id": "C-1042"}], "explain": 3})),
    responses(
        (status = 200, description = "The scores", body = ScoresBody),
        Problems,
    )
)]
pub(super) async fn score(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    body: Body,
) -> Result<Response, Error> {
    let mut counters = &state.counters.score;
    let result = async {
        let deadline = deadline?;
        let bytes = body.bytes()?;
        if !state.scorer.has_free_half() {
            let text = bytes.clone();
            if let Some(outline) = work::on_bytes(bytes.len(), move || outline::outline(&text)).await? {
                record_model(&outline.model);
                if outline.entities == 1 {
                    counters = &state.counters.score_one;
                }
                state
                    .scorer
                    .has_room(&client, &outline.model, outline.entities, outline.explain)?;
            }
        }
        let body: ScoreBody = body::parsed(bytes.len(), move || body::parse(&bytes)).await?;
        record_model(&body.model);
        if body.entities.len() == 1 {
            counters = &state.counters.score_one;
        }
        let scores = within(deadline, state.scorer.answer(body.into_domain(client, deadline)?)).await?;
        counters.answered_by(&scores.model);
        let bytes = scores.text_bytes();
        work::on_bytes(bytes, move || body::answer(&ScoresBody::from(&scores), bytes)).await?
    };
    let result = result.await;
    counters.count(result)
}

/// Scores one entity by its id.
#[utoipa::path(
    get, path = "/v1/models/{model}/scores/{id}", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"),
        VersionParameters, ExplainParameter, RequestHeaders),
    responses(
        (status = 200, description = "The score", body = ScoreOneBody),
        Problems,
    )
)]
pub(super) async fn score_one(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<(String, String)>,
    QueryParameters(query): QueryParameters,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let EntityQuery {
            model, id, explain, ..
        } = entity_query(parameters, query)?;
        let entity = Entity {
            id: Some(EntityId::Text(id)),
            features: Vec::new(),
        };
        let request = ScoreRequest {
            client,
            model,
            entities: vec![entity],
            explain,
            deadline,
        };
        let Scores { model, mut results } = within(deadline, state.scorer.answer(request)).await?;
        state.counters.score_one.answered_by(&model);
        match results.pop() {
            Some(EntityScore {
                outcome: Outcome::Failed(error),
                ..
            }) => Err(error),
            Some(result) => body::answer(&ScoreOneBody::new(&model, &result), 2 * RESULT_TEXT),
            None => Err(Error::internal("no result for the entity".to_owned())),
        }
    };
    state.counters.score_one.count(result.await)
}
