//! REST: the routes, and the OpenAPI description made from the same declarations.

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

use crate::api::auth::{Guard, PortApi};
use crate::api::body_timeout;
use crate::api::body_timeout::BodyTimeout;
use crate::api::context::ContextLayer;
use crate::api::request_metrics::RequestCounters;
use crate::app::App;
use crate::config::StreamsSection;
use crate::error::Error;
use crate::lifecycle::LifecycleHandle;
use crate::scoring::Scorer;
use problem::challenged;

/// What every handler needs.
#[derive(Clone, Debug)]
struct HttpState {
    scorer: Arc<Scorer>,
    counters: Arc<EndpointCounters>,
    streams: Arc<StreamLimits>,
    /// The way to loading models, for clients of the Open Inference Protocol, where it is allowed.
    loading: Option<LifecycleHandle>,
}

/// What streams need beside.
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
        description = "Scores of gradient-boosted tree models: an id in, a score with its band and reasons out."
    ),
    components(schemas(problem::Problem)),
    tags(
        (name = "score", description = "Scores of entities, by id or by features"),
        (name = "models", description = "What is live, and what it promises")
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

/// The OpenAPI 3.1 description, as it is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Bulk is read as it comes.
fn patience(route: Option<&str>, _: &str) -> BodyTimeout {
    match route {
        Some("/v1/models/{model}/scores") => BodyTimeout::Stream,
        _ => BodyTimeout::Whole,
    }
}

/// Compression of what is worth the time and not compressed already.
fn compression(bytes: usize) -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(SizeAbove::new(bytes as u64).and(NotForContentType::IMAGES))
}

/// Answers a request that the guard refused: an Open Inference error under `/v2`, a problem elsewhere.
fn refuse(path: &str, error: Error) -> Response {
    if path.starts_with("/v2") {
        challenged(error, |error| {
            open_inference::V2Error::from(error).into_response()
        })
    } else {
        challenged(error, Error::into_response)
    }
}

/// The application's router, behind the guard.
pub fn router(app: &App, guard: &Guard) -> Router {
    let metrics = guard.request_metrics();
    let counters = |operation| metrics.counters("rest", operation);
    let state = HttpState {
        scorer: app.scorer.clone(),
        loading: super::open_inference::loading(app),
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
        // Outermost first. One call of `layer` for many: each boxes every request and answer once more.
        .layer((
            compression(app.config.server.compress_bytes),
            body_timeout::layer(app, patience, axum::Error::new),
            RequestDecompressionLayer::new(),
            DefaultBodyLimit::max(app.config.limits.body_bytes),
        ));
    guard.protect(PortApi::Rest, router, refuse).layer((
        ContextLayer,
        CatchPanicLayer::custom(problem::panicked),
        option_layer(cors::layer(&app.config.cors)),
    ))
}
