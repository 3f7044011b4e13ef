//! Pages of other origins, such as a sales front end, that ask from the browser.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::CorsSection;

/// How long a browser need not ask again whether it may ask.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What a page may send beside what it always may.
const SENT: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-request-timeout-ms"),
    HeaderName::from_static("traceparent"),
];

/// What a page may read of an answer beside its body.
const READ: [HeaderName; 3] = [
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceresponse"),
];

/// The layer that says so; `None` where no other origin may ask.
pub(super) fn layer(section: &CorsSection) -> Option<CorsLayer> {
    let origins = &section.origins;
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // The settings were checked: each is a valid header.
        AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        )
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(SENT)
        .expose_headers(READ)
        .max_age(MAX_AGE);
    Some(layer)
}
