//! The REST API: its routes, and the OpenAPI description that is generated from them.

mod admin;
mod body;
mod changes;
mod cors;
mod deadline;
mod docs;
mod drift;
mod error_format;
mod features;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod history;
mod lines;
mod models;
mod open_inference;
pub mod ops;
mod outcomes;
mod page;
mod parameters;
mod paths;
mod performance;
mod problem;
mod ranking;
mod schema;
mod score;
mod score_history;
mod session;
mod strict;
mod text_chunks;
mod unpack;
mod what_if;

use std::sync::Arc;

use axum::Router;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::IntoResponse as _;
use tokio_util::sync::CancellationToken;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{ApiKind, Guard, SignIn};
use crate::api::context::ContextLayer;
use crate::api::incoming;
use crate::api::incoming::BodyTimeout;
use crate::api::precheck::CheckLayer;
use crate::api::request_metrics::RequestCounters;
use crate::app::App;
use crate::config::StreamsSection;
use crate::error::Error;
use crate::lifecycle::LifecycleHandle;
use crate::observe::report::Thresholds;
use crate::record::service::OutcomeService;
use crate::scoring::Scorer;
use crate::scoring::ranking::Rankings;
pub(crate) use drift::ReportBody;
use error_format::ErrorFormatLayer;

/// State of every handler.
#[derive(Clone, Debug)]
struct HttpState {
    scorer: Arc<Scorer>,
    counters: Arc<EndpointCounters>,
    streams: Arc<StreamLimits>,
    /// From which size on a difference is drift.
    drift: Thresholds,
    /// Outcomes of customers, if the settings name a store.
    outcomes: Option<Arc<OutcomeService>>,
    /// Sign-in of people, if the page is on and requests need keys.
    sign_in: Option<SignIn>,
    /// Whether requests need keys.
    needs_keys: bool,
    /// Address of a customer in another system, for the page.
    customer_link: Arc<str>,
    /// All customers, ranked.
    rankings: Arc<Rankings>,
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
    paths: RequestCounters,
    changes: RequestCounters,
    score_history: RequestCounters,
    what_if: RequestCounters,
    score_lines: RequestCounters,
    list_models: RequestCounters,
    get_model: RequestCounters,
    drift: RequestCounters,
    ranking: RequestCounters,
    rank_ids: RequestCounters,
    export: RequestCounters,
    outcomes: RequestCounters,
    get_outcomes: RequestCounters,
    performance: RequestCounters,
    session: RequestCounters,
    infer: RequestCounters,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Evergreen",
        description = "Scores of gradient-boosted tree models. A request names an entity by its id; the answer holds its score, \
                       band and reasons."
    ),
    components(schemas(
        problem::Problem,
        error_format::InferenceErrorBody,
        ranking::parameters::FormatName,
        ranking::parameters::OrderName
    )),
    modifiers(&ApiKeys),
    tags(
        (name = "score", description = "Score entities by id or by features"),
        (name = "ranking", description = "All customers, ranked by score"),
        (name = "models", description = "Live models, their versions and contracts"),
        (name = "outcomes", description = "What became of customers, and what scores turned out to be worth"),
        (name = "session", description = "Sign-in to the web page"),
        (name = "inference", description = "The Open Inference Protocol (V2), for its standard clients")
    )
)]
struct Description;

/// Names of the two ways to send an API key.
const BEARER: &str = "bearer";
const API_KEY: &str = "api_key";

/// Describes API keys. Without `auth.file` requests need none, so the description allows that too.
struct ApiKeys;

impl Modify for ApiKeys {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key of `evergreen key`, if `auth.file` is set."))
            .build();
        let header = ApiKeyValue::with_description("x-api-key", "The same key in a header of its own.");
        let components = description.components.get_or_insert_default();
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
        components.add_security_scheme(API_KEY, SecurityScheme::ApiKey(ApiKey::Header(header)));
        description.security = Some(vec![
            SecurityRequirement::default(),
            key_in(BEARER),
            key_in(API_KEY),
        ]);
    }
}

fn key_in(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new::<_, [&str; 0], &str>(scheme, [])
}

fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(score::score))
        .routes(routes!(score::score_one))
        .routes(routes!(features::features))
        .routes(routes!(paths::paths))
        .routes(routes!(changes::changes))
        .routes(routes!(score_history::score_history))
        .routes(routes!(what_if::what_if))
        .routes(routes!(lines::score_lines))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(drift::drift))
        .routes(routes!(ranking::ranking))
        .routes(routes!(ranking::listed::rank_ids))
        .routes(routes!(outcomes::record, history::of_customer))
        .routes(routes!(performance::performance))
        .merge(session::routes())
        .merge(open_inference::routes())
}

/// Returns the OpenAPI 3.1 description that `/openapi.json` serves without `auth.file`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut description = routes().into_openapi();
    open_inference::describe_versions(&mut description);
    description
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
    let compressible = |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| {
        extensions.get::<docs::AsItIs>().is_none()
    };
    let predicate = SizeAbove::new(bytes as u64)
        .and(NotForContentType::IMAGES)
        .and(compressible);
    CompressionLayer::new().compress_when(predicate)
}

/// Builds the router of the REST port, behind the guard.
pub fn router(app: &App, guard: &Guard) -> Router {
    let metrics = guard.request_metrics();
    let counters = |operation| metrics.counters("rest", operation);
    let state = HttpState {
        scorer: app.scorer.clone(),
        drift: Thresholds::from(&app.config.drift),
        outcomes: app.outcomes.clone(),
        sign_in: guard.sign_in().cloned(),
        needs_keys: guard.is_on(),
        customer_link: app.config.page.customer_link.as_str().into(),
        rankings: app.rankings.clone(),
        repository_api: super::open_inference::repository_api(app),
        counters: Arc::new(EndpointCounters {
            score: counters("score"),
            score_one: counters("score_one"),
            features: counters("features"),
            paths: counters("paths"),
            changes: counters("changes"),
            score_history: counters("score_history"),
            what_if: counters("what_if"),
            score_lines: metrics.stream_counters("rest", "score_lines"),
            list_models: counters("list_models"),
            get_model: counters("get_model"),
            drift: counters("drift"),
            ranking: counters("ranking"),
            rank_ids: counters("rank_ids"),
            export: metrics.stream_counters("rest", "export_ranking"),
            outcomes: counters("outcomes"),
            get_outcomes: counters("get_outcomes"),
            performance: counters("performance"),
            session: counters("session"),
            infer: counters("infer"),
        }),
        streams: Arc::new(StreamLimits {
            settings: app.config.streams.clone(),
            closing: app.closing.clone(),
        }),
    };
    let mut description = openapi();
    if guard.is_on() {
        description.security = Some(vec![key_in(BEARER), key_in(API_KEY)]);
    }
    let router = axum::Router::from(routes())
        .merge(open_inference::version_routes())
        .with_state(state)
        // Answers hold personal data; no browser or proxy is to keep them.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .merge(page::router(app.config.page.enabled))
        .merge(docs::router(description))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        // Outermost first. One `layer` call for all, as each call boxes every request and response.
        .layer((
            compression(app.config.server.compress_bytes),
            incoming::layer(app, select_timeout, false, axum::Error::new),
            CheckLayer(unpack::check),
        ));
    guard.protect(ApiKind::Rest, router, Error::into_response).layer((
        ContextLayer::rest(app),
        ErrorFormatLayer,
        CatchPanicLayer::custom(problem::panicked),
        option_layer(cors::layer(&app.config.cors)),
        CheckLayer(strict::check),
    ))
}
