//! REST: the routes, and the OpenAPI description made from the same declarations.

mod admin;
mod body;
mod docs;
mod features;
mod models;
mod open_inference;
pub mod ops;
mod problem;
mod score;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::counters::Counters;
use crate::app::App;
use crate::scoring::Scorer;

/// What every handler needs.
#[derive(Clone, Debug)]
struct Rest {
    scorer: Arc<Scorer>,
    counters: Arc<Operations>,
}

#[derive(Debug)]
struct Operations {
    score: Counters,
    score_one: Counters,
    features: Counters,
    list_models: Counters,
    get_model: Counters,
    infer: Counters,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Evergreen",
        description = "Scores of gradient-boosted tree models: an id in, a score with its band and reasons out."
    ),
    tags(
        (name = "score", description = "Scores of entities, by id or by features"),
        (name = "models", description = "What is live, and what it promises")
    )
)]
struct Description;

fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(score::score))
        .routes(routes!(score::score_one))
        .routes(routes!(features::features))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
}

/// The OpenAPI 3.1 description, as it is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// The application's router.
pub fn router(app: &App) -> Router {
    let counters = |operation| Counters::new(&app.metrics, "rest", operation);
    let state = Rest {
        scorer: app.scorer.clone(),
        counters: Arc::new(Operations {
            score: counters("score"),
            score_one: counters("score_one"),
            features: counters("features"),
            list_models: counters("list_models"),
            get_model: counters("get_model"),
            infer: counters("infer"),
        }),
    };
    let (router, description) = routes().split_for_parts();
    router
        .merge(open_inference::router())
        .with_state(state)
        .merge(docs::router(description))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(DefaultBodyLimit::max(app.config.limits.body_bytes))
        .layer(RequestDecompressionLayer::new())
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(problem::panicked))
}
