//! Extracts the deadline of a request, for handlers.

use std::convert::Infallible;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::IntoParams;

use crate::api::context::deadline;
use crate::error::Error;

/// Headers that a request may have.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only describes the headers")]
pub(super) struct RequestHeaders {
    /// Timeout in milliseconds. After it the server answers 504.
    #[param(rename = "X-Request-Timeout-Ms", nullable = false, minimum = 1)]
    timeout: Option<u64>,
    /// Request id for logs, returned in the response. The server generates one if it is missing.
    #[param(rename = "X-Request-Id", nullable = false, max_length = 128)]
    id: Option<String>,
}

/// The request's deadline, or why its header is invalid. The handler reports the error in its protocol.
pub(super) struct DeadlineHeader(pub(super) Result<Option<Instant>, Error>);

impl<S: Sync> FromRequestParts<S> for DeadlineHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(deadline::of(&parts.extensions)))
    }
}
