//! The REST API: its routes, and the OpenAPI description that is generated from them.

mod admin;
mod body;
mod cors;
mod deadline;
mod docs;
mod features;
mod lines;
mod models;
mod open_inference;
pub mod ops;
mod problem;
mod score;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::decompression::RequestDecompressionLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{ApiKind, Guard};
use crate::api::body_timeout;
use crate::api::body_timeout::BodyTimeout;
use crate::api::context::ContextLayer;
use crate::api::request_metrics::RequestCounters;
use crate::app::App;
use crate::config::StreamsSection;
use crate::error::Error;
use crate::lifecycle::LifecycleHandle;
use crate::scoring::Scorer;
use problem::with_challenge;

/// State of every handler.
#[derive(Clone, Debug)]
struct HttpState {
    scorer: Arc<Scorer>,
    counters: Arc<EndpointCounters>,
    streams: Arc<StreamLimits>,
    /// Handle for loading and unloading over Open Inference, if `models.repository_api` is on.
    repository_api: Option<LifecycleHandle>,
}

/// Limits of bulk requests, and the signal that the server stops.
#[derive(Debug)]
struct StreamLimits {
    settings: StreamsSection,
    closing: CancellationToken,
}

#[derive(Debug)]
struct EndpointCounters {
    score: RequestCounters,
    score_one: RequestCounters,
    features: RequestCounters,
    score_lines: RequestCounters,
    list_models: RequestCounters,
    get_model: RequestCounters,
    infer: RequestCounters,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Evergreen",
        description = "Scores of gradient-boosted tree models. A request names an entity by its id; the answer holds its score, \
                       band and reasons."
    ),
    components(schemas(problem::Problem)),
    tags(
        (name = "score", description = "Score entities by id or by features"),
        (name = "models", description = "Live models, their versions and contracts")
    )
)]
struct Description;

fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(score::score))
        .routes(routes!(score::score_one))
        .routes(routes!(features::features))
        .routes(routes!(lines::score_lines))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
}

/// Returns the OpenAPI 3.1 description that `/openapi.json` serves.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Selects the body timeout: bulk requests have limits of their own.
fn select_timeout(route: Option<&str>, _: &str) -> BodyTimeout {
    match route {
        Some("/v1/models/{model}/scores") => BodyTimeout::Stream,
        _ => BodyTimeout::Whole,
    }
}

/// Compresses responses above `bytes`, except images.
fn compression(bytes: usize) -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(SizeAbove::new(bytes as u64).and(NotForContentType::IMAGES))
}

/// Builds the response to a refused request: an Open Inference error under `/v2`, a problem elsewhere.
fn refuse(path: &str, error: Error) -> Response {
    if path.starts_with("/v2") {
        with_challenge(error, |error| {
            open_inference::V2Error::from(error).into_response()
        })
    } else {
        with_challenge(error, Error::into_response)
    }
}

/// Builds the router of the REST port, behind the guard.
pub fn router(app: &App, guard: &Guard) -> Router {
    let metrics = guard.request_metrics();
    let counters = |operation| metrics.counters("rest", operation);
    let state = HttpState {
        scorer: app.scorer.clone(),
        repository_api: super::open_inference::repository_api(app),
        counters: Arc::new(EndpointCounters {
            score: counters("score"),
            score_one: counters("score_one"),
            features: counters("features"),
            score_lines: counters("score_lines"),
            list_models: counters("list_models"),
            get_model: counters("get_model"),
            infer: counters("infer"),
        }),
        streams: Arc::new(StreamLimits {
            settings: app.config.streams.clone(),
            closing: app.closing.clone(),
        }),
    };
    let (router, description) = routes().split_for_parts();
    let router = router
        .merge(open_inference::router())
        .with_state(state)
        .merge(docs::router(description))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        // Outermost first. One `layer` call for all, as each call boxes every request and response.
        .layer((
            compression(app.config.server.compress_bytes),
            body_timeout::layer(app, select_timeout, axum::Error::new),
            RequestDecompressionLayer::new(),
            DefaultBodyLimit::max(app.config.limits.body_bytes),
        ));
    guard.protect(ApiKind::Rest, router, refuse).layer((
        ContextLayer,
        CatchPanicLayer::custom(problem::panicked),
        option_layer(cors::layer(&app.config.cors)),
    ))
}
