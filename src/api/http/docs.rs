//! Serves `/openapi.json` and the API page `/docs`. The page's files are embedded in the binary.

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub(super) fn router(description: utoipa::openapi::OpenApi) -> Router {
    let page = SwaggerUi::new("/docs").url("/openapi.json", description);
    let page = page.config(Config::default().try_it_out_enabled(true).validator_url("none"));
    Router::new()
        .merge(page)
        .route("/", get(|| async { Redirect::temporary("/docs/") }))
}
