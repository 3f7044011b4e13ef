//! The operations port: probes, metrics and caches, for Kubernetes, Prometheus and operators. Administration is in
//! `admin.rs`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::parameters::{PathParameters, path};
use super::problem;
use crate::api::auth::{ApiKind, Guard};
use crate::app::App;
use crate::error::Error;
use crate::metrics::{Registry, TEXT_FORMAT};
use crate::values::entity_id::EntityId;
use crate::work::off_thread;

/// Builds the router of the operations port while the models load.
pub fn loading(registry: Registry) -> Router {
    let metrics = move || {
        let registry = registry.clone();
        async move { render(&registry) }
    };
    let reasons = json!({"ready": false, "reasons": ["the models are still loading"]});
    let ready = move || async move { (StatusCode::SERVICE_UNAVAILABLE, Json(reasons)) };
    let unavailable = || async { Error::unavailable("the models are still loading".to_owned()) };
    Router::new()
        .route("/livez", get(loading_live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(unavailable)
}

/// Builds the router of the operations port, behind the guard.
pub fn router(app: Arc<App>, guard: &Guard) -> Router {
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(super::admin::router())
        .route("/cache", delete(clear_all))
        .route("/cache/{source}", delete(clear_source))
        .route("/cache/{source}/{id}", delete(clear_entity))
        .with_state(app)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method);
    guard.protect(ApiKind::Operations, router, Error::into_response)
}

async fn loading_live() -> Json<Value> {
    Json(json!({"live": true}))
}

/// Answers 200 unless workers of the runtime are stuck, otherwise 503 with the reasons.
async fn live(State(app): State<Arc<App>>) -> Response {
    let reasons = app.heartbeats.stuck();
    if reasons.is_empty() {
        return Json(json!({"live": true})).into_response();
    }
    let body = json!({"live": false, "reasons": reasons});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// Answers 200 if at least one model and its features can answer, otherwise 503 with the reasons.
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
async fn clear_all(State(app): State<Arc<App>>) -> StatusCode {
    app.sources
        .remotes()
        .iter()
        .for_each(|remote| remote.forget(None));
    StatusCode::NO_CONTENT
}

/// Empties the cache of one feature store.
async fn clear_source(
    State(app): State<Arc<App>>,
    parameters: PathParameters<String>,
) -> Result<StatusCode, Error> {
    let source = path(parameters)?;
    app.sources.forget(&source, None).map(|()| StatusCode::NO_CONTENT)
}

/// Removes one entity from the cache of one feature store, so that its next score queries the store.
async fn clear_entity(
    State(app): State<Arc<App>>,
    parameters: PathParameters<(String, String)>,
) -> Result<StatusCode, Error> {
    let (source, id) = path(parameters)?;
    app.sources
        .forget(&source, Some(&EntityId::Text(id)))
        .map(|()| StatusCode::NO_CONTENT)
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Error> {
    // Each text that is rendered takes a thread, and processor time from scores.
    static RENDERED: Semaphore = Semaphore::const_new(2);
    let permit = RENDERED.acquire().await;
    off_thread(move || {
        let _until_rendered = permit;
        app.measure();
        render(&app.registry)
    })
    .await?
}

fn render(registry: &Registry) -> Result<Response, Error> {
    let text = registry
        .render()
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
