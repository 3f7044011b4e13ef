//! The operations port: probes and metrics; administration is in `admin.rs`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::problem::{self, challenged};
use crate::api::auth::{Guard, PortApi};
use crate::app::App;
use crate::error::Error;
use crate::metrics::{Registry, TEXT_FORMAT};
use crate::values::entity_id::EntityId;

/// The operations port while models are being loaded.
pub fn loading(registry: Registry) -> Router {
    let metrics = move || {
        let registry = registry.clone();
        async move { render(&registry) }
    };
    let reasons = json!({"ready": false, "reasons": ["the models are being loaded"]});
    let ready = move || async move { (StatusCode::SERVICE_UNAVAILABLE, Json(reasons)) };
    let later = || async { Error::unavailable("the models are being loaded".to_owned()) };
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(later)
}

/// The router of the operations port.
pub fn router(app: Arc<App>, guard: &Guard) -> Router {
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(super::admin::router())
        .route("/cache", delete(forget_all))
        .route("/cache/{source}", delete(forget_source))
        .route("/cache/{source}/{id}", delete(forget_entity))
        .with_state(app)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method);
    guard.protect(PortApi::Operations, router, |_, error| {
        challenged(error, Error::into_response)
    })
}

async fn live() -> Json<Value> {
    Json(json!({"live": true}))
}

/// 200 when at least one model and its features can answer; otherwise 503 and the reasons.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let reasons = app.why_not_ready();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({"ready": reasons.is_empty(), "reasons": reasons})),
    )
        .into_response()
}

/// Empties the caches of all feature stores.
async fn forget_all(State(app): State<Arc<App>>) -> StatusCode {
    app.sources
        .remotes()
        .iter()
        .for_each(|remote| remote.forget(None));
    StatusCode::NO_CONTENT
}

/// Empties the cache of one feature store.
async fn forget_source(State(app): State<Arc<App>>, Path(source): Path<String>) -> Result<StatusCode, Error> {
    app.sources.forget(&source, None).map(|()| StatusCode::NO_CONTENT)
}

/// Forgets one entity of one feature store: its next score asks the store.
async fn forget_entity(
    State(app): State<Arc<App>>,
    Path((source, id)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    app.sources
        .forget(&source, Some(&EntityId::Text(id)))
        .map(|()| StatusCode::NO_CONTENT)
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Error> {
    app.sources.measure();
    app.scorer.live().update_feature_counters();
    render(&app.registry)
}

fn render(registry: &Registry) -> Result<Response, Error> {
    let text = registry
        .render()
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
